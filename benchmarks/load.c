/* A closed-loop load generator for one HTTP/1.1 endpoint on loopback: N connections, each sends the next
 * request when the answer of the last is complete. Prints one JSON line.
 *
 *   load PORT PATH CONNECTIONS SECONDS BODY [HEADER…]
 *
 * LOAD_KEYS=FILE sends each line of it in turn as `Authorization: Bearer LINE`; LOAD_RPS=N sends N requests a second at most.
 * Times in microseconds: "latency" to the end of the answer, "ttfb" to the first body byte. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { MAXCONN = 1024, MAXKEYS = 1 << 16, BUF = 1 << 18, MAXSAMPLES = 1 << 21 };

typedef struct {
    int fd, status, chunked, in_body;
    size_t len;
    long remaining; /* of a content-length body */
    double sent, first;
    char *buf;
} conn;

static conn conns[MAXCONN];
static float *latency, *ttfb;
static size_t samples, firsts, errors, bad, events;
static char **requests;
static size_t *request_len, kinds, next_kind;
static conn *idle[MAXCONN];
static int idles;
static double gap, due; /* microseconds between two requests, and when the next may go; 0: at once */
static struct sockaddr_in addr;
static int ep;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void shoot(conn *c) {
    c->len = c->status = c->in_body = c->chunked = 0;
    c->first = 0;
    c->sent = now();
    size_t kind = next_kind++ % kinds;
    if (send(c->fd, requests[kind], request_len[kind], MSG_NOSIGNAL) != (ssize_t)request_len[kind]) errors++;
}

static void turn(conn *c) { /* ready for the next request: now, or when it is due */
    if (gap) idle[idles++] = c;
    else shoot(c);
}

static void dial(conn *c) {
    int one = 1;
    if (c->fd > 0) close(c->fd);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&addr, sizeof addr)) { perror("connect"); exit(1); }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
    turn(c);
}

static void shoot_due(void) {
    double t = now();
    if (t - due > 1e5) due = t - 1e5; /* what could not be sent in time is not sent all at once later */
    while (idles && due <= t) { due += gap; shoot(idle[--idles]); }
}

static size_t count(const char *p, size_t n) { /* server-sent events in a piece */
    size_t k = 0;
    for (const char *end = p + n; (p = memmem(p, end - p, "data: ", 6)); p += 6) k++;
    return k;
}

static int complete(conn *c) {
    if (!c->in_body) {
        c->buf[c->len] = 0;
        char *blank = strstr(c->buf, "\r\n\r\n");
        if (!blank) return 0;
        c->status = atoi(c->buf + 9);
        char *cl = strcasestr(c->buf, "\r\ncontent-length:"), *te = strcasestr(c->buf, "\r\ntransfer-encoding: chunked");
        c->chunked = te && te < blank;
        c->remaining = cl && cl < blank ? atol(cl + 17) : 0;
        c->in_body = 1;
        size_t head = blank + 4 - c->buf;
        c->len -= head;
        memmove(c->buf, c->buf + head, c->len);
    }
    if (c->len && !c->first) c->first = now();
    if (!c->chunked) {
        c->remaining -= c->len;
        c->len = 0;
        return c->remaining <= 0;
    }
    events += count(c->buf, c->len);
    int done = c->len >= 5 && !memcmp(c->buf + c->len - 5, "0\r\n\r\n", 5);
    /* keep the last bytes: the end mark may be cut in two; an event prefix is 6 bytes, so keep fewer */
    if (c->len > 5) { memmove(c->buf, c->buf + c->len - 5, 5); c->len = 5; }
    return done;
}

static int ascending(const void *a, const void *b) { float x = *(float *)a, y = *(float *)b; return (x > y) - (x < y); }
static float at(float *v, size_t n, double q) { return n ? v[(size_t)(q * (n - 1))] : 0; }

int main(int argc, char **argv) {
    if (argc < 6) return fprintf(stderr, "usage: load PORT PATH CONNECTIONS SECONDS BODY [HEADER...]\n"), 2;
    int n = atoi(argv[3]);
    double seconds = atof(argv[4]);
    if (n < 1 || n > MAXCONN) return 2;
    char *headers = strdup("");
    for (int i = 6; i < argc; i++) if (asprintf(&headers, "%s%s\r\n", headers, argv[i]) < 0) return 1;
    requests = malloc(sizeof *requests * MAXKEYS);
    request_len = malloc(sizeof *request_len * MAXKEYS);
    char line[256] = "", *keys = getenv("LOAD_KEYS"), *rps = getenv("LOAD_RPS");
    FILE *file = keys ? fopen(keys, "r") : NULL;
    if (keys && !file) return perror(keys), 2;
    while (!file || (kinds < MAXKEYS && fgets(line, sizeof line, file))) {
        line[strcspn(line, "\n")] = 0;
        request_len[kinds] = asprintf(&requests[kinds],
            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nContent-Type: application/json\r\n%s%s%s%sContent-Length: %zu\r\n\r\n%s",
            argv[2], argv[1], headers, file ? "Authorization: Bearer " : "", line, file ? "\r\n" : "", strlen(argv[5]), argv[5]);
        kinds++;
        if (!file) break;
    }
    if (!kinds) return fprintf(stderr, "no keys in %s\n", keys), 2;
    if (rps && atof(rps) > 0) gap = 1e6 / atof(rps), due = now();
    addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    latency = malloc(sizeof(float) * MAXSAMPLES);
    ttfb = malloc(sizeof(float) * MAXSAMPLES);
    ep = epoll_create1(0);
    double began = now(), until = began + seconds * 1e6, last = began;
    for (int i = 0; i < n; i++) { conns[i].buf = malloc(BUF + 1); dial(&conns[i]); }
    struct epoll_event evs[256];
    while (now() < until) {
        int k = epoll_wait(ep, evs, 256, gap ? 1 : 100);
        for (int i = 0; i < k; i++) {
            conn *c = evs[i].data.ptr;
            ssize_t got = recv(c->fd, c->buf + c->len, BUF - c->len, 0);
            if (got <= 0) { errors++; dial(c); continue; }
            c->len += got;
            if (!complete(c)) continue;
            last = now();
            if (c->status != 200) bad++;
            if (samples < MAXSAMPLES) {
                if (c->first) ttfb[firsts++] = c->first - c->sent;
                latency[samples++] = last - c->sent;
            }
            turn(c);
        }
        if (gap) shoot_due();
    }
    qsort(latency, samples, sizeof(float), ascending);
    qsort(ttfb, firsts, sizeof(float), ascending);
    printf("{\"requests\":%zu,\"errors\":%zu,\"bad_status\":%zu,\"events\":%zu,\"seconds\":%.6f,\"rps\":%.1f,"
           "\"latency\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f},\"ttfb\":{\"p50\":%.1f,\"p99\":%.1f}}\n",
           samples, errors, bad, events, (last - began) / 1e6, samples ? samples / ((last - began) / 1e6) : 0.0, at(latency, samples, .5),
           at(latency, samples, .9), at(latency, samples, .99), at(ttfb, firsts, .5), at(ttfb, firsts, .99));
    return errors || bad ? 3 : 0;
}
