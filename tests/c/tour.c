// What NATS promises its clients, with the C client over three nodes: argv is their addresses.

#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 200, PATIENCE_MS = 10000 };

// Ends the program unless it is so.
#define HOLDS(condition) ((condition) ? (void)0 : fail(#condition, __LINE__))
#define OK(call) HOLDS((call) == NATS_OK)

static void fail(const char *what, int line) {
    fprintf(stderr, "line %d: not so: %s\n", line, what);
    nats_PrintLastErrorStack(stderr);
    exit(1);
}

static natsConnection *connect_to(const char *address) {
    char url[256];
    natsOptions *options = NULL;
    natsConnection *client = NULL;

    snprintf(url, sizeof url, "nats://%s", address);
    OK(natsOptions_Create(&options));
    OK(natsOptions_SetURL(options, url));
    OK(natsOptions_SetName(options, "c"));
    OK(natsConnection_Connect(&client, options));
    natsOptions_Destroy(options);
    return client;
}

static bool says(natsMsg *message, const char *text) {
    return natsMsg_GetDataLength(message) == (int)strlen(text) &&
           memcmp(natsMsg_GetData(message), text, strlen(text)) == 0;
}

static natsMsg *next(natsSubscription *subscription) {
    natsMsg *message = NULL;
    OK(natsSubscription_NextMsg(&message, subscription, PATIENCE_MS));
    return message;
}

static bool is_empty(natsSubscription *subscription) {
    uint64_t queued = 0;
    OK(natsSubscription_QueuedMsgs(subscription, &queued));
    return queued == 0;
}

// Waits until all nodes know of the client's subscriptions.
static void everywhere(natsConnection *client) {
    natsMsg *answer = NULL;
    OK(natsConnection_RequestString(&answer, client, "$TIDINGS.barrier", "5s", PATIENCE_MS));
    HOLDS(strstr(natsMsg_GetData(answer), "\"everywhere\":true") != NULL);
    natsMsg_Destroy(answer);
}

static void publish_number(natsConnection *client, const char *subject, int number) {
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    OK(natsConnection_PublishString(client, subject, text));
}

static void publish_and_subscribe(natsConnection *here, natsConnection *there) {
    enum { SUBSCRIPTIONS = 4, EVERYTHING = 3 };
    natsSubscription *subscriptions[SUBSCRIPTIONS];
    natsSubscription *limited = NULL;

    OK(natsConnection_SubscribeSync(&subscriptions[0], here, "news.sport"));
    OK(natsConnection_SubscribeSync(&subscriptions[1], there, "news.sport"));
    OK(natsConnection_SubscribeSync(&subscriptions[2], there, "news.*"));
    OK(natsConnection_SubscribeSync(&subscriptions[EVERYTHING], there, "news.>"));
    OK(natsConnection_SubscribeSync(&limited, there, "limited"));
    OK(natsSubscription_AutoUnsubscribe(limited, 2));
    everywhere(here);
    everywhere(there);

    for (int number = 0; number < COUNT; number++) {
        char text[16];
        natsMsg *message = NULL;
        snprintf(text, sizeof text, "%d", number);
        OK(natsMsg_Create(&message, "news.sport", NULL, "goal", 4));
        OK(natsMsgHeader_Set(message, "Number", text));
        OK(natsConnection_PublishMsg(here, message));
        natsMsg_Destroy(message);
    }
    OK(natsConnection_PublishString(here, "news.sport.results", ""));
    for (int number = 0; number < 3; number++)
        publish_number(here, "limited", number);

    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        for (int number = 0; number < COUNT; number++) {
            natsMsg *message = next(subscriptions[i]);
            const char *told = NULL;
            HOLDS(strcmp(natsMsg_GetSubject(message), "news.sport") == 0);
            HOLDS(says(message, "goal"));
            OK(natsMsgHeader_Get(message, "Number", &told));
            HOLDS(atoi(told) == number);
            natsMsg_Destroy(message);
        }
    }
    natsMsg *results = next(subscriptions[EVERYTHING]);
    HOLDS(strcmp(natsMsg_GetSubject(results), "news.sport.results") == 0);
    HOLDS(says(results, ""));
    natsMsg_Destroy(results);

    for (int number = 0; number < 2; number++)
        natsMsg_Destroy(next(limited));
    natsMsg *third = NULL;
    HOLDS(natsSubscription_NextMsg(&third, limited, PATIENCE_MS) == NATS_MAX_DELIVERED_MSGS);
    natsSubscription_Destroy(limited);

    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        HOLDS(is_empty(subscriptions[i]));
        OK(natsSubscription_Unsubscribe(subscriptions[i]));
        natsSubscription_Destroy(subscriptions[i]);
    }
}

static void queue_group(natsConnection *here, natsConnection *workers[2]) {
    natsSubscription *work[2], *end[2];
    int done[COUNT] = {0};

    for (int i = 0; i < 2; i++) {
        OK(natsConnection_QueueSubscribeSync(&work[i], workers[i], "jobs", "workers"));
        OK(natsConnection_SubscribeSync(&end[i], workers[i], "jobs.end"));
        everywhere(workers[i]);
    }
    for (int number = 0; number < COUNT; number++)
        publish_number(here, "jobs", number);
    OK(natsConnection_PublishString(here, "jobs.end", ""));

    for (int i = 0; i < 2; i++) {
        // What comes after the end of a publisher comes after all that it published before.
        natsMsg_Destroy(next(end[i]));
        HOLDS(!is_empty(work[i]));
        while (!is_empty(work[i])) {
            natsMsg *job = next(work[i]);
            done[strtol(natsMsg_GetData(job), NULL, 10) % COUNT]++;
            natsMsg_Destroy(job);
        }
        natsSubscription_Destroy(work[i]);
        natsSubscription_Destroy(end[i]);
    }
    for (int number = 0; number < COUNT; number++)
        HOLDS(done[number] == 1);
}

static void answer(natsConnection *client, natsSubscription *subscription, natsMsg *question, void *closure) {
    (void)subscription, (void)closure;
    HOLDS(says(question, "hello"));
    OK(natsConnection_PublishString(client, natsMsg_GetReply(question), "HELLO"));
    natsMsg_Destroy(question);
}

static void request_and_reply(natsConnection *here, natsConnection *there) {
    natsSubscription *shout = NULL;
    natsMsg *response = NULL;

    OK(natsConnection_Subscribe(&shout, there, "shout", answer, NULL));
    everywhere(there);
    OK(natsConnection_RequestString(&response, here, "shout", "hello", PATIENCE_MS));
    HOLDS(says(response, "HELLO"));
    natsMsg_Destroy(response);
    natsSubscription_Destroy(shout);

    HOLDS(natsConnection_RequestString(&response, here, "nobody.listens", "hello", PATIENCE_MS) ==
          NATS_NO_RESPONDERS);
}

static void read_slowly(natsConnection *client, natsSubscription *subscription, natsMsg *message, void *closure) {
    int *read = closure;
    (void)client, (void)subscription;
    nats_Sleep(5);
    HOLDS(strtol(natsMsg_GetData(message), NULL, 10) == *read);
    ++*read;
    natsMsg_Destroy(message);
}

static void drain(natsConnection *here, natsConnection *there) {
    natsSubscription *last_words = NULL, *end = NULL;
    int read = 0;

    OK(natsConnection_Subscribe(&last_words, there, "last.words", read_slowly, &read));
    OK(natsConnection_SubscribeSync(&end, there, "last.words.end"));
    everywhere(there);
    for (int number = 0; number < 20; number++)
        publish_number(here, "last.words", number);
    OK(natsConnection_PublishString(here, "last.words.end", ""));
    natsMsg_Destroy(next(end));
    natsSubscription_Destroy(end);

    OK(natsConnection_Drain(there));
    OK(natsSubscription_WaitForDrainCompletion(last_words, PATIENCE_MS));
    HOLDS(read == 20);
    natsSubscription_Destroy(last_words);
}

int main(int argc, char *argv[]) {
    natsConnection *clients[3];

    HOLDS(argc == 4);
    for (int i = 0; i < 3; i++)
        clients[i] = connect_to(argv[i + 1]);
    publish_and_subscribe(clients[0], clients[1]);
    queue_group(clients[0], &clients[1]);
    request_and_reply(clients[0], clients[1]);
    drain(clients[0], clients[1]);
    for (int i = 0; i < 3; i++)
        natsConnection_Destroy(clients[i]);
    nats_Close();
    puts("all of it holds");
    return 0;
}
