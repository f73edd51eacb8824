/* An open-loop load generator for one HTTP/1.1 endpoint on loopback: a request is due every so often whether or not the
 * last ones were answered, and goes to the next connection in turn, behind what is unanswered there. Prints one JSON line.
 *
 *   flood PORT PATH CONNECTIONS SECONDS RPS BODY
 *
 * LOAD_KEYS=FILE sends each line of it in turn as `Authorization: Bearer LINE`. LOAD_ONCE=1 opens a new connection for
 * every request instead, CONNECTIONS at a time at most.
 * "offered": requests that were due; "sent": those that the kernel took, as who is not read from cannot send; "answered";
 * "refused": answers 401, 403 and 429. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { MAXCONN = 1024, MAXKEYS = 1 << 16 };
static const char MARK[] = "HTTP/1.1 ";

typedef struct {
    int fd, matched, digits, status; /* of an answer's first line: how much of it was seen */
    const char *rest;                /* of a request that the kernel took in part */
    size_t left;
} conn;

static conn conns[MAXCONN];
static char **requests, buf[1 << 16];
static size_t *request_len, kinds, next_kind;
static size_t offered, sent, answered, refused, errors;
static struct sockaddr_in addr;
static int ep, once;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void dial(conn *c) {
    int one = 1;
    struct linger hard = {1, 0};
    if (c->fd > 0) {
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard); /* no port is left waiting */
        close(c->fd);
    }
    *c = (conn){.fd = socket(AF_INET, SOCK_STREAM, 0)};
    if (connect(c->fd, (void *)&addr, sizeof addr)) { errors++; close(c->fd); c->fd = 0; return; }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
}

static int push(conn *c) { /* 1 when nothing is left to send */
    while (c->left) {
        ssize_t gone = send(c->fd, c->rest, c->left, MSG_NOSIGNAL);
        if (gone <= 0) {
            if (gone < 0 && errno != EAGAIN) errors++, dial(c);
            return 0;
        }
        c->rest += gone;
        c->left -= gone;
    }
    return 1;
}

static void shoot(conn *c) {
    offered++;
    if (once) {
        if (c->fd > 0 && c->rest) return; /* every connection still waits for its answer */
        dial(c);
    }
    if (c->fd <= 0) { dial(c); return; }
    if (!push(c)) return;
    size_t kind = next_kind++ % kinds;
    c->rest = requests[kind];
    c->left = request_len[kind];
    sent++;
    push(c);
}

static void take(conn *c, const char *p, size_t n) { /* count first lines; no body holds the mark */
    for (; n; p++, n--) {
        if (c->matched == (int)sizeof MARK - 1) {
            c->status = c->status * 10 + (*p - '0');
            if (++c->digits < 3) continue;
            answered++;
            refused += c->status == 401 || c->status == 403 || c->status == 429;
            c->matched = c->digits = c->status = 0;
            if (once) c->rest = NULL;
        } else c->matched = *p == MARK[c->matched] ? c->matched + 1 : *p == MARK[0];
    }
}

int main(int argc, char **argv) {
    if (argc != 7) return fprintf(stderr, "usage: flood PORT PATH CONNECTIONS SECONDS RPS BODY\n"), 2;
    int n = atoi(argv[3]), turn = 0;
    double seconds = atof(argv[4]), gap = 1e6 / atof(argv[5]);
    if (n < 1 || n > MAXCONN || gap <= 0) return 2;
    once = getenv("LOAD_ONCE") != NULL;
    requests = malloc(sizeof *requests * MAXKEYS);
    request_len = malloc(sizeof *request_len * MAXKEYS);
    char line[256] = "", *keys = getenv("LOAD_KEYS");
    FILE *file = keys ? fopen(keys, "r") : NULL;
    if (keys && !file) return perror(keys), 2;
    while (!file || (kinds < MAXKEYS && fgets(line, sizeof line, file))) {
        line[strcspn(line, "\n")] = 0;
        request_len[kinds] = asprintf(&requests[kinds],
            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nContent-Type: application/json\r\n%s%s%sContent-Length: %zu\r\n\r\n%s",
            argv[2], argv[1], file ? "Authorization: Bearer " : "", line, file ? "\r\n" : "", strlen(argv[6]), argv[6]);
        kinds++;
        if (!file) break;
    }
    if (!kinds) return fprintf(stderr, "no keys in %s\n", keys), 2;
    addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ep = epoll_create1(0);
    if (!once) for (int i = 0; i < n; i++) dial(&conns[i]);
    double began = now(), until = began + seconds * 1e6, due = began;
    struct epoll_event evs[256];
    while (now() < until) {
        int k = epoll_wait(ep, evs, 256, 1);
        for (int i = 0; i < k; i++) {
            conn *c = evs[i].data.ptr;
            ssize_t got = recv(c->fd, buf, sizeof buf, 0);
            if (got > 0) take(c, buf, got);
            else if (got == 0 || errno != EAGAIN) {
                if (once) epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL), c->rest = NULL;
                else errors++, dial(c);
            }
        }
        for (double t = now(); due <= t; due += gap) shoot(&conns[turn++ % n]);
    }
    double took = (now() - began) / 1e6;
    printf("{\"offered\": %.0f, \"sent\": %.0f, \"answered\": %.0f, \"refused\": %.0f, \"errors\": %zu}\n",
           offered / took, sent / took, answered / took, refused / took, errors);
    return 0;
}
