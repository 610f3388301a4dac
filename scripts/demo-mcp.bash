# shellcheck shell=bash disable=SC2154 # what is not set here is set by scripts/demo
# The story of `scripts/demo mcp`: an MCP server with a replica in each of three languages, on three machines, and a client
# of each language, which hangs on one replica. Then agents that talk through their nodes, and a stream of tokens. Sourced by
# scripts/demo, never run.

# `weather://1`, `weather://2` and so on change once each, in this order, and the last ones never do.
readonly RESOURCES=12
uris=() changes=0
for ((i = 1; i <= RESOURCES; i++)); do uris+=("weather://$i"); done
declare -A url=() marks=()

# --- Replicas and clients: processes of their own --------------------------------------------

start_program() { # NAME COMMAND...
    local program=$1
    shift
    setsid "$@" </dev/null >>"$dir/agents/$program.heard" 2>>"$dir/agents/$program.errors" &
    remember_process "$dir/agents/$program.pid" $!
    disown
}

start_python_replica() { start_program python-replica "$python" "$root/tests/python/mcp_replica.py" "${url[python]}" "$(client_of n1)"; }

# Where a client goes: to this replica first.
urls() { # FIRST SECOND THIRD
    local language all=()
    for language in "$@"; do
        case $language in
            rust) all+=("http://$(ip_of n3):8900/mcp") ;;
            *) all+=("http://127.0.0.1:${url[$language]}/mcp") ;;
        esac
    done
    (IFS=, && echo "${all[*]}")
}

lines_of() { wc -l <"$dir/agents/$1.heard"; }
times_said() { grep -c "$2" "$dir/agents/$1.heard" || true; } # PROGRAM WORD
said() { sleep 0.02; (($(times_said "$1" "$2") >= $3)); }       # PROGRAM WORD TIMES

# --- Changes ---------------------------------------------------------------------------------

# Tells of the next change, from the shell at a node.
change() { # NODE
    local client
    changes=$((changes + 1))
    for client in "${clients[@]}"; do
        marks[$client-$changes]=$(lines_of "$client")
    done
    "$bin" mcp notify --server "$(client_of "$1")" weather "weather://$changes"
}

# What a client has heard since a change was published.
heard_since() { tail -n "+$((marks[$1-$2] + 1))" "$dir/agents/$1.heard"; } # CLIENT CHANGE
was_told() { grep -qx "told weather://$2" < <(heard_since "$1" "$2"); }    # CLIENT CHANGE
# It also reads anew, when it listens elsewhere.
knows() { was_told "$1" "$2" || grep -qx "read weather://$2" < <(heard_since "$1" "$2"); } # CLIENT CHANGE

all_know() { # CHANGE...
    local change client
    sleep 0.01
    for change in "$@"; do
        for client in "${clients[@]}"; do
            knows "$client" "$change" || return 1
        done
    done
}

hears_all() { # TEXT LIMIT_MS CHANGE...
    local text=$1 limit=$2
    shift 2
    wait_for "change $* known to all three clients" all_know "$@"
    told "$text" "$took" "$limit"
}

# --- Streams ---------------------------------------------------------------------------------

follow() { start_program "$1" curl --silent --no-buffer "http://$(http_of "$2")/v1/streams/$stream"; } # FOLLOWER NODE

# --- The story -------------------------------------------------------------------------------

readonly clients=(python-client typescript-client rust-client)
readonly NODES=4 # the replica in Rust has one of its own in its process
nodes=(n1 n2 n3)

say "Three machines with a node each. A replica of one MCP server beside each, in Python, TypeScript and Rust."
TIDINGS_BIN=$bin "$here/up" 3 --name "$name" >/dev/null
load_cluster
mkdir "$dir/agents"
since=$(now_ms)
free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
url=([python]=$("$python" -c "$free_port") [typescript]=$("$python" -c "$free_port"))
start_python_replica
start_program typescript-replica node "$programs/mcp_replica.mjs" "${url[typescript]}" "$(client_of n2)"
"$bin" tls cert create --node replica --ca-dir "$dir/ca" --dir "$dir/replica-tls" >/dev/null
start_program rust-replica nsenter --net="/run/netns/$(ns n3)" "$examples/replica" "$(ip_of n3):8900" "$(ip_of n3):7950" \
    "$dir/replica-tls" "$(ip_of n1):$CLUSTER_PORT" "$(ip_of n2):$CLUSTER_PORT"
for language in python typescript rust; do
    wait_for "the replica in $language" said "$language-replica" serves 1
done
told "three replicas serve, and all nodes know of them" "$took" 20000

say "A client of each language listens at one replica for ${#uris[@]} resources."
since=$(now_ms)
start_program python-client "$python" "$root/tests/python/mcp_client.py" "$(urls typescript rust python)" "${uris[@]}"
start_program typescript-client node "$programs/mcp_client.mjs" "$(urls rust python typescript)" "${uris[@]}"
start_program rust-client "$examples/listen" "$(urls python typescript rust)" "${uris[@]}"
for client in "${clients[@]}"; do
    wait_for "$client listens" said "$client" "read ${uris[-1]}" 1
done
told "all three listen, and have read" "$took" 20000
for node in "${nodes[@]}"; do
    since=$(now_ms)
    change "$node"
    hears_all "a change told by a shell on $node reaches all three" 1000 "$changes"
done

say "The replica in Python is killed with -9, and something changes at once. Its client listens elsewhere."
since=$(now_ms)
signal_process "$dir/agents/python-replica.pid" KILL
change n2
wait_for "its client listens elsewhere" said rust-client listens 2
hears_all "its client listens elsewhere, and all know of the change" 5000 "$changes"
start_python_replica
wait_for "the replica in Python" said python-replica serves 2

say "The node of the replica in TypeScript is killed with -9, and something changes at once."
since=$(now_ms)
"$here/kill" n2 --name "$name"
change n3
hears_all "all know of the change" 5000 "$changes"
since=$(now_ms)
"$here/start" n2 --name "$name"
wait_for "all views agree again" nodes_agree $NODES "${nodes[@]}"
told "the node is back in all views" "$took" 5000
since=$(now_ms)
change n2
hears_all "a change told there reaches all three" 1000 "$changes"

say "The first node stands still for 6 s. Something changes meanwhile."
signal_process "$(pid_file n1)" STOP
since=$(now_ms)
wait_for "the others take it for dead" nodes_agree $((NODES - 1)) n2 n3
change n3
remaining=$((6000 - ($(now_ms) - since)))
if ((remaining > 0)); then
    sleep "$(printf '%d.%03d' $((remaining / 1000)) $((remaining % 1000)))" &
    wait $! # which a signal interrupts
fi
signal_process "$(pid_file n1)" CONT
since=$(now_ms)
hears_all "all know of the change, after the node goes on" 5000 "$changes"
wait_for "all views agree again" nodes_agree $NODES "${nodes[@]}"

say "The third machine is cut off. Something changes on both sides."
"$here/partition" n3 --name "$name"
since=$(now_ms)
wait_for "n1 and n2 on their own" nodes_agree 2 n1 n2
wait_for "n3 and the replica there on their own" nodes_agree 2 n3
told "each side sees only its own nodes" "$took" 5000
change n1
change n3
"$here/heal" --name "$name"
since=$(now_ms)
hears_all "all know of both changes, after the network heals" 5000 $((changes - 1)) "$changes"

say "Nobody has missed anything. After a loss clients are told of what did change; of all, only after a node was killed."
due=0
for client in "${clients[@]}"; do
    known=0
    for ((i = 1; i <= changes; i++)); do
        ! knows "$client" "$i" || known=$((known + 1))
        ! was_told "$client" "$i" || due=$((due + 1))
    done
    check "changes that ${client/-/\'s } knows of" "$known" "$changes"
done
notified=$(cat "$dir"/agents/*-client.heard | grep -c '^told' || true)
printf '  %-62s %9s\n' "notifications to all clients together" "$notified"
printf '  %-62s %9s\n' "of these of what had not changed, or was told before" "$((notified - due))"
# All resources once, for the node that was killed, and each change twice.
check "no more than one node that was killed explains" \
    "$((notified - due <= ${#clients[@]} * (RESOURCES + changes) ? 1 : 0))" 1

say "Two agents talk, each through the node beside it, to which it is a stock client of MCP."
since=$(now_ms)
start_program answerer "$python" "$root/tests/python/mcp_agent.py" "http://$(http_of n1)/mcp"
wait_for "the agent in Python waits for questions" said answerer listens 1
start_program asker node "$programs/mcp_agent.mjs" "http://$(http_of n2)/mcp"
wait_for "the agent in TypeScript has an answer" said asker 'answer 42' 1
told "one asks on n2, in TypeScript; one answers on n1, in Python" "$took" 20000
wait_for "the answerer hears of a second member" said answerer 'members answerer asker' 1

say "A tool on n2 says what it says as it says it. One follows on n1 from the beginning, one joins late on n3."
mkfifo "$dir/tokens"
exec {tokens}<>"$dir/tokens"
start_program tool curl --silent --dump-header "$dir/agents/tool.head" --upload-file "$dir/tokens" --request POST "http://$(http_of n2)/v1/streams"
since=$(now_ms)
printf 'it is ' >&"$tokens"
wait_for "the stream has a name" grep -qs '^tidings-stream:' "$dir/agents/tool.head"
stream=$(sed -n 's/^tidings-stream: *\([^[:space:]]*\).*/\1/p' "$dir/agents/tool.head")
follow early n1
wait_for "the early one hears the first token" said early 'data: it is ' 1
printf 'sunny' >&"$tokens"
wait_for "the early one hears the second token" said early 'data: sunny' 1
follow late n3
wait_for "the late one hears the last token" said late 'data: sunny' 1
for follower in early late; do
    check "what the $follower one has heard" "$(sed -n 's/^data: //p' "$dir/agents/$follower.heard" | tr -d '\n')" "it is sunny"
done
since=$(now_ms)
"$here/kill" n2 --name "$name"
for follower in early late; do
    wait_for "the $follower one is told of the end" said "$follower" '"state":"aborted"' 1
done
told "the tool's node is killed; both are told: aborted" "$took" 3000
