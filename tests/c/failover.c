// Goes on at another node with the C client: argv is the address of one node, then that of another.

#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_MS = 30000 };

static void check(natsStatus status) {
    if (status != NATS_OK) {
        nats_PrintLastErrorStack(stderr);
        exit(1);
    }
}

static void tell(natsConnection *client, const char *what, natsMsg *message) {
    char url[256];
    check(natsConnection_GetConnectedUrl(client, url, sizeof url));
    printf("%s", what);
    if (message != NULL)
        printf(" %.*s", natsMsg_GetDataLength(message), natsMsg_GetData(message));
    printf(" at %s\n", url);
    fflush(stdout);
}

int main(int argc, char *argv[]) {
    natsOptions *options = NULL;
    natsConnection *client = NULL;
    natsSubscription *subscription = NULL;
    natsMsg *message = NULL;

    check(natsOptions_Create(&options));
    check(natsOptions_SetServers(options, (const char **)argv + 1, argc - 1));
    check(natsOptions_SetNoRandomize(options, true));
    check(natsOptions_SetReconnectWait(options, 100));
    check(natsConnection_Connect(&client, options));
    check(natsConnection_SubscribeSync(&subscription, client, "news"));
    check(natsConnection_Flush(client));
    tell(client, "subscribed", NULL);

    check(natsSubscription_NextMsg(&message, subscription, PATIENCE_MS));
    tell(client, "got", message);

    natsMsg_Destroy(message);
    natsSubscription_Destroy(subscription);
    natsConnection_Destroy(client);
    natsOptions_Destroy(options);
    nats_Close();
    return 0;
}
