/* A fast scripted upstream: OpenAI-shaped answers on loopback, one thread, epoll.
 *
 *   mock PORT
 *
 * The model name in the request says what to do: "mock-n100-g10000" streams 100 chunks with 10,000
 * microseconds between them (one send per chunk), "-d20" waits 20 ms before the answer. Without "-n" the
 * answer is one JSON document. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { MAXFD = 8192, INBUF = 65536 };

typedef struct {
    char *in;
    size_t len;
    int left;         /* chunks still to send, -1: idle, -2: a JSON answer is due */
    uint32_t gap_us;
    uint64_t due_us;  /* when to send next */
} conn;

static conn conns[MAXFD];
static int active[MAXFD], nactive, ep;

static const char JSON[] =
    "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"mock\",\"choices\":"
    "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The quick brown fox jumps over the lazy dog, "
    "and both of them walk home together.\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":31,"
    "\"completion_tokens\":20,\"total_tokens\":51}}";
static const char CHUNK[] =
    "data: {\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock\","
    "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"finish_reason\":null}]}\n\n";
static char json_msg[2048], chunk_msg[1024];
static size_t json_len, chunk_len;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + t.tv_nsec / 1000;
}

static void drop(int fd) {
    for (int i = 0; i < nactive; i++)
        if (active[i] == fd) { active[i] = active[--nactive]; break; }
    free(conns[fd].in);
    memset(&conns[fd], 0, sizeof(conn));
    close(fd);
}

/* A closed or stalled peer is dropped: the benchmark never needs partial writes. */
static int put(int fd, const char *data, size_t n) {
    if (send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n) return 1;
    drop(fd);
    return 0;
}

static long option(const char *model, const char *end, const char *key) {
    const char *p = memmem(model, end - model, key, strlen(key));
    return p ? strtol(p + strlen(key), NULL, 10) : 0;
}

static int step(int fd) { /* send what is due; 0 when nothing more is scheduled */
    conn *c = &conns[fd];
    if (c->left == -2) {
        c->left = -1;
        put(fd, json_msg, json_len);
        return 0;
    }
    while (c->left > 0 && c->due_us <= now_us()) {
        c->left--;
        c->due_us += c->gap_us;
        if (!put(fd, chunk_msg, chunk_len)) return 0;
    }
    if (c->left > 0) return 1;
    c->left = -1;
    static const char end[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    put(fd, end, sizeof end - 1);
    return 0;
}

static void start(int fd, const char *body, size_t n) {
    conn *c = &conns[fd];
    const char *model = memmem(body, n, "\"model\":\"", 9), *end = NULL;
    if (model) { model += 9; end = memchr(model, '"', body + n - model); }
    long delay = end ? option(model, end, "-d") : 0, chunks = end ? option(model, end, "-n") : 0;
    c->gap_us = end ? (uint32_t)option(model, end, "-g") : 0;
    c->due_us = now_us() + delay * 1000;
    c->left = -2;
    if (chunks) {
        static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        if (!put(fd, head, sizeof head - 1)) return;
        c->left = (int)chunks;
    }
    if (!delay && !c->gap_us) { step(fd); return; }
    active[nactive++] = fd;
}

static void incoming(int fd) {
    conn *c = &conns[fd];
    if (!c->in) { c->in = malloc(INBUF); c->left = -1; }
    ssize_t got = recv(fd, c->in + c->len, INBUF - 1 - c->len, 0);
    if (got <= 0) { if (got == 0 || errno != EAGAIN) drop(fd); return; }
    c->len += got;
    c->in[c->len] = 0;
    char *blank = strstr(c->in, "\r\n\r\n");
    if (!blank) return;
    size_t head = blank + 4 - c->in, length = 0;
    char *cl = strcasestr(c->in, "\r\ncontent-length:");
    if (cl && cl < blank) length = strtoul(cl + 17, NULL, 10);
    if (c->len < head + length) return;
    if (c->in[0] == 'G') { /* GET /v1/models, for gateways that ask before they forward */
        static const char list[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n"
            "{\"object\":\"list\",\"data\":[{\"id\":\"mock\"}]}";
        c->len = 0;
        put(fd, list, sizeof list - 1);
        return;
    }
    c->len = 0; /* one request at a time: no client of this benchmark pipelines */
    start(fd, blank + 4, length);
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: mock PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    json_len = snprintf(json_msg, sizeof json_msg, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", sizeof JSON - 1, JSON);
    chunk_len = snprintf(chunk_msg, sizeof chunk_msg, "%zx\r\n%s\r\n", sizeof CHUNK - 1, CHUNK);
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 2048)) return perror("mock"), 1;
    ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = ls}, evs[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
    for (;;) {
        int wait_ms = -1;
        if (nactive) {
            uint64_t now = now_us(), due = UINT64_MAX;
            for (int i = 0; i < nactive; i++) if (conns[active[i]].due_us < due) due = conns[active[i]].due_us;
            wait_ms = due > now ? (int)((due - now + 999) / 1000) : 0;
        }
        int n = epoll_wait(ep, evs, 256, wait_ms);
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            if (fd != ls) { incoming(fd); continue; }
            while ((fd = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MAXFD) { close(fd); continue; }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                ev.data.fd = fd;
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
            }
        }
        uint64_t now = nactive ? now_us() : 0;
        for (int i = nactive - 1; i >= 0; i--) {
            int fd = active[i];
            if (conns[fd].due_us > now) continue;
            int before = nactive;
            if (!step(fd) && nactive == before) active[i] = active[--nactive];
        }
    }
}
