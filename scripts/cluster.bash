# shellcheck shell=bash disable=SC2034 # what is set here is read by the scripts that source it
# The parts that the scripts share: names, processes, wires and views. Sourced, never run.
#
# A cluster C is a set of network namespaces: `tidings-C-hub` holds nothing but a bridge, and each
# node nI has `tidings-C-nI` with one interface, eth0, on that bridge. The bridge has a room of its
# own so that a firewall of the host (or of a container runtime on it) never sees the packets
# between nodes. The host itself is one more machine on the bridge, at .254, and so reaches every
# node, also while nodes cannot reach one another. What is known of the cluster is in
# target/clusters/C.

set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
root=$(dirname "$here")
script="scripts/$(basename "$0")"

# The settings of a cluster, which `up` decides and the others read back: how many nodes, the first
# three numbers of their addresses, the binary, and what else the nodes are given.
size=0 net='' bin='' config='' environment=()

readonly CLUSTER_PORT=7946 CLIENT_PORT=4222 HTTP_PORT=8222
readonly MAC='02:74:69:64:00:%02x' # the hardware address of a node, by its number
readonly NODES_MAX=200
readonly AGREE_SECONDS=60 # how long `up` waits for equal views before it gives up
readonly STOP_SECONDS=5   # how long a node may take to leave before it is killed

die() {
    echo "$script: $*" >&2
    exit 1
}

# The comment at the head of the script is its manual.
manual() {
    sed -n '2,/^$/s/^#\( \|$\)//p' "$0"
}

wrong_arguments() {
    manual >&2
    exit 2
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "needs $tool, which is not installed (ip: iproute2; nsenter, unshare, flock: util-linux)"
    done
}

# --- Arguments and what is known of a cluster ------------------------------------------------

# Takes --name and --help out of the arguments; what remains is in the array `rest`.
take_name() {
    name=tidings rest=()
    while (($#)); do
        case $1 in
            -h | --help) manual && exit 0 ;;
            --name) (($# > 1)) || wrong_arguments; name=$2; shift ;;
            --name=*) name=${1#--name=} ;;
            *) rest+=("$1") ;;
        esac
        shift
    done
    [[ $name =~ ^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$ ]] ||
        die "--name takes 1 to 40 of a-z, 0-9 and '-', not '$name'"
    dir=$root/target/clusters/$name
}

# Reads the settings that `up` wrote.
load_cluster() {
    if ! [[ -f $dir/settings ]] || ! netns_exists "$(ns hub)"; then
        die "there is no cluster '$name'; scripts/up makes one, scripts/up --help tells how"
    fi
    # shellcheck source=/dev/null
    source "$dir/settings"
}

save_cluster() {
    {
        printf 'size=%q\nnet=%q\nbin=%q\nconfig=%q\n' "$size" "$net" "$bin" "$config"
        printf 'environment=(%s)\n' "${environment[*]@Q}"
    } >"$dir/settings"
}

ns() { echo "tidings-$name-$1"; }
ip_of() { echo "$net.${1#n}"; }
client_of() { echo "$(ip_of "$1"):$CLIENT_PORT"; }
http_of() { echo "$(ip_of "$1"):$HTTP_PORT"; }
all_nodes() { seq -f 'n%.0f' "$size"; }

# Every argument must be a node of this cluster.
check_nodes() {
    local node
    for node in "$@"; do
        if ! [[ $node =~ ^n[1-9][0-9]{0,2}$ ]] || ((${node#n} > size)); then
            die "'$node' is no node of cluster '$name', which has n1 to n$size"
        fi
    done
}

# --- Privileges ------------------------------------------------------------------------------

may_make_namespaces() {
    [[ $(id -u) == 0 && -w /run ]] && unshare --net true 2>/dev/null
}

need_privileges() {
    need ip nsenter unshare flock
    may_make_namespaces ||
        die "needs root to make network namespaces (scripts/demo and scripts/test also run without root where the kernel allows user namespaces)"
}

# Runs a command where namespaces can be made: here, if that is allowed, or else in a user
# namespace with an empty network of its own, which ends with the command.
with_namespaces() {
    need ip nsenter unshare flock
    if may_make_namespaces; then
        "$@"
    elif unshare --user --map-root-user --net --mount true 2>/dev/null; then
        # shellcheck disable=SC2016 # the inner shell expands it
        unshare --user --map-root-user --net --mount \
            sh -c 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"' sh "$@"
    else
        die "needs root, or a kernel that allows unprivileged user namespaces"
    fi
}

# --- The binary ------------------------------------------------------------------------------

# Sets `bin`: $TIDINGS_BIN, or else the release binary, built first.
build_binary() {
    if [[ -n ${TIDINGS_BIN:-} ]]; then
        bin=$(readlink -f "$TIDINGS_BIN")
    else
        need cargo
        cargo build --quiet --release --bin tidings --manifest-path "$root/Cargo.toml" >&2
        bin=${CARGO_TARGET_DIR:-$root/target}/release/tidings
    fi
    [[ -x $bin ]] || die "there is no binary at $bin"
}

# --- Processes: never signal a stranger ------------------------------------------------------

# The start time of a process in clock ticks; fails when it is gone or a zombie.
started_at() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra stat <<<"${stat##*) }"
    [[ ${stat[0]} != Z ]] && echo "${stat[19]}"
}

remember_process() { # FILE PID
    echo "$2 $(started_at "$2" || echo gone)" >"$1"
}

# Signals the process remembered in a file; fails when that very process runs no more.
# Signal 0 only asks.
signal_process() { # FILE SIGNAL
    local pid start
    [[ -f $1 ]] && read -r pid start <"$1" && [[ $(started_at "$pid") == "$start" ]] &&
        kill -s "$2" "$pid" 2>/dev/null
}

pid_file() { echo "$dir/$1/pid"; }
runs() { signal_process "$(pid_file "$1")" 0; }

# Waits until none of the nodes runs; fails when one still does after STOP_SECONDS.
wait_stopped() {
    local node deadline=$((SECONDS + STOP_SECONDS))
    for node in "$@"; do
        while runs "$node"; do
            ((SECONDS < deadline)) || return 1
            sleep 0.01
        done
    done
}

# Starts the process of a node, appending to its log.
start_node() {
    local node=$1 seed seeds=() extra=()
    for seed in n1 n2 n3; do
        ((${seed#n} > size)) || seeds+=(--seed "$(ip_of "$seed"):$CLUSTER_PORT")
    done
    [[ -z $config ]] || extra=(--config "$config")
    env -u TIDINGS_BIN -u TIDINGS_PREVIOUS_BIN "${environment[@]}" \
        setsid nsenter --net="/run/netns/$(ns "$node")" \
        "$bin" run "${extra[@]}" --name "$node" --cluster "$name" "${seeds[@]}" \
        --listen "$(ip_of "$node"):$CLUSTER_PORT" \
        --client "$(client_of "$node")" --http "$(http_of "$node")" \
        --tls-dir "$dir/$node/tls" --data-dir "$dir/$node/data" \
        </dev/null >>"$dir/$node.log" 2>&1 &
    remember_process "$(pid_file "$node")" $!
    disown
}

# Writes cluster.json aside and moves it into place, so that a reader never sees half of it.
write_cluster_json() {
    local node separator='' pid
    {
        printf '['
        for node in $(all_nodes); do
            read -r pid _ <"$(pid_file "$node")"
            printf '%s\n  {"node":"%s","ns":"%s","pid":%s,"cluster":"%s","client":"%s","http":"%s"}' \
                "$separator" "$node" "$(ns "$node")" "$pid" "$(ip_of "$node"):$CLUSTER_PORT" \
                "$(client_of "$node")" "$(http_of "$node")"
            separator=,
        done
        printf '\n]\n'
    } >"$dir/cluster.json.new"
    mv "$dir/cluster.json.new" "$dir/cluster.json"
}

# --- Wires -----------------------------------------------------------------------------------

netns_exists() { [[ -e /run/netns/$1 ]]; }

# The name of the host's end of the wire to the bridge: at most 15 bytes are allowed.
host_interface() { printf 'tid%08x' "$(cksum <<<"$name" | cut -d' ' -f1)"; }

# Sets `net` to the first three numbers of a free /24 of 198.18.0.0/15, which is set aside for
# test networks. Where to begin looking follows from the name, so a cluster tends to keep its own.
choose_net() {
    local first i index used
    first=$(cksum <<<"$name" | cut -d' ' -f1)
    used=$(ip -4 route show table all; ip -4 -o addr show)
    for ((i = 0; i < 512; i++)); do
        index=$(((first + i) % 512))
        net=198.$((18 + index / 256)).$((index % 256))
        [[ $used == *" $net."* || $used == "$net."* || $used == *$'\n'"$net."* ]] || return 0
    done
    die "no /24 of 198.18.0.0/15 is free on this host"
}

lay_wires() {
    local node hub host
    hub=$(ns hub) host=$(host_interface)
    ip netns add "$hub"
    ip link add "$host" type veth peer name host netns "$hub"
    ip addr add "$net.254/24" dev "$host"
    ip link set "$host" up
    {
        echo "link add bridge type bridge"
        echo "link set bridge up"
        echo "link set host master bridge up"
        for node in $(all_nodes); do
            ip netns add "$(ns "$node")"
            printf "link add %s type veth peer name eth0 address $MAC netns %s\n" "$node" "${node#n}" "$(ns "$node")"
            echo "link set $node master bridge up"
        done
    } | ip -n "$hub" -batch -
    for node in $(all_nodes); do
        printf '%s\n' "link set lo up" "addr add $(ip_of "$node")/24 dev eth0" "link set eth0 up" |
            ip -n "$(ns "$node")" -batch -
    done
    mend_wires
}

# A wire ends with either of its ends, so the namespaces are all there is to remove.
remove_wires() {
    local file
    for file in "/run/netns/tidings-$name-"*; do
        [[ ${file##*/} =~ ^tidings-"$name"-(hub|n[0-9]+)$ ]] || continue
        ip netns del "${file##*/}"
    done
    # A namespace lives on for an instant after its deletion, and so does the host's interface.
    ip link del "$(host_interface)" 2>/dev/null || true
}

# Tells a node at which hardware address it finds each of the others, for good. So nobody has to
# ask, and a large cluster does not fill the kernel's one table of neighbours that were asked for.
mend_wires() {
    local from i
    for from in $(all_nodes); do
        for ((i = 1; i <= size; i++)); do
            [[ $from == "n$i" ]] || printf "neigh replace %s lladdr $MAC dev eth0 nud permanent\n" "$net.$i" "$i"
        done | ip -n "$(ns "$from")" -batch -
    done
}

# Packets from one node to the others are lost from now on, silently: they are sent to a hardware
# address that nobody has. The sender is told nothing, as in a real partition.
cut_wires() { # FROM TO...
    local from=$1 to
    shift
    for to in "$@"; do
        echo "neigh replace $(ip_of "$to") lladdr 02:de:ad:00:00:00 dev eth0 nud permanent"
    done | ip -n "$(ns "$from")" -batch -
}

# --- Views -----------------------------------------------------------------------------------

# GETs one path from the nodes named, one line of answer a node; empty where there is none.
fetch() { # PATH NODE...
    local path=$1 node urls=()
    shift
    for node in "$@"; do
        urls+=("http://$(http_of "$node")$path")
    done
    curl --silent --noproxy '*' --max-time 2 --write-out '\n' "${urls[@]}" || true
}

# The live nodes as each of the nodes named sees them, without what differs between observers.
live_views() { # NODE...
    fetch /v1/nodes "$@" | while read -r answer; do
        sed -E 's/,?"link":(null|\{[^}]*\})//g' <<<"$answer" | grep -o '{[^}]*"live":true[^}]*}' |
            sed -E 's/,?"self":(true|false)//' | sort | tr -d '\n' || true
        echo
    done
}

# The topics with their numbers of members as each of the nodes named sees them.
topic_views() { # NODE...
    fetch /v1/topics "$@" | sed -E 's/,?"local":[0-9]+//g'
}

# Whether the nodes named all see the same live nodes, as many as said.
nodes_agree() { # LIVE NODE...
    local live=$1 views
    shift
    views=$(live_views "$@" | sort -u)
    [[ $views != *$'\n'* && $(grep -o '"live":true' <<<"$views" | wc -l) == "$live" ]]
}

# Milliseconds on the wall clock.
now_ms() { echo "$((${EPOCHREALTIME/[.,]/} / 1000))"; }
