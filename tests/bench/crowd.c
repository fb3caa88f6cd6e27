/* The crowd: thousands of subscribers in one process that only counts, so cheap that it is not what is measured.

   crowd PORT TRANSPORT SESSIONS CLIENTS CONNECTIONS TOKEN FILE

   TRANSPORT is sse, websocket (HTTP/1.1) or h2 (SSE as streams of CONNECTIONS connections, by prior knowledge). CLIENTS
   subscribe to each of SESSIONS sessions, s0, s1, ... FILE is mapped by whoever started this, as `struct board`; setting
   `stop` ends it. An event is known by its mark, ~X~T and 17 characters of Unix time: when it should have been produced.
   Its age, as long as `measuring` is set, is taken against this machine's clock: a delay anywhere counts in full. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_AGES = 1 << 20, UNANSWERED = 64, READ_BYTES = 1 << 18, CARRY = 64, MARK = 4, STAMPED = MARK + 17 };

struct board {
    uint64_t subscribed, events, bytes, lost_connections, ages, measuring, stop, unused;
    uint32_t age_us[MOST_AGES];
};

struct peer {
    int fd, subscribed, expected, carried;
    long first;                    /* number of its first subscription */
    unsigned char carry[CARRY];    /* the end of what was read, where a mark or a frame's head may have begun */
    uint32_t left;                 /* HTTP/2: bytes still to come of the present frame */
    uint8_t head[9], kind, flags;  /* HTTP/2: its head */
    int head_size, body_size;
    uint8_t body[8];               /* HTTP/2: what a PING carries */
};

static volatile struct board *board;
static const char *token, *transport;
static int port, sessions, h2, epoll;
static long opened, wanted, per_peer;
static unsigned char buffer[CARRY + READ_BYTES];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void say(struct peer *peer, const void *data, size_t size) {
    /* The kernel's buffer holds every request there is; what does not fit is a defect of the bench. */
    if (write(peer->fd, data, size) != (ssize_t)size) fail("write");
}

/* What an event is known by. */

static void take_age(const unsigned char *stamp, double at) {
    char text[18];
    uint64_t number = board->ages;
    if (!board->measuring || number >= MOST_AGES) return;
    memcpy(text, stamp, 17);
    text[17] = 0;
    double age = (at - strtod(text, NULL)) * 1e6;
    board->age_us[number] = age > 0 ? (uint32_t)age : 0;
    board->ages = number + 1;
}

/* Counts the marks in `data`; gives how many bytes at its end may be the beginning of one more. */
static int count(const unsigned char *data, size_t size, double at) {
    const unsigned char *here = data, *end = data + size;
    uint64_t events = 0;
    while ((here = memchr(here, '~', end - here))) {
        if (end - here < STAMPED) {
            if (memcmp(here, "~X~T", end - here < MARK ? end - here : MARK) == 0) break;
            here++;
        } else if (memcmp(here, "~X~T", MARK) == 0) {
            take_age(here + MARK, at);
            events++;
            here += STAMPED;
        } else {
            here++;
        }
    }
    if (events) board->events += events;
    return here ? (int)(end - here) : 0;
}

/* Subscribing. */

static size_t request(char *into, size_t room, long number) {
    const char *path = strcmp(transport, "websocket") ? "events" : "ws";
    const char *more = strcmp(transport, "websocket")
        ? ""
        : "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    return snprintf(into, room, "GET /v1/sessions/s%ld/%s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n%s\r\n",
                    number % sessions, path, token, more);
}

static unsigned char *integer(unsigned char *to, size_t value) { /* RFC 7541 section 5.1, a prefix of 7 bits */
    if (value < 127) {
        *to++ = value;
        return to;
    }
    *to++ = 127;
    for (value -= 127; value >= 128; value >>= 7) *to++ = 0x80 | (value & 127);
    *to++ = value;
    return to;
}

static unsigned char *field(unsigned char *to, const char *name, const char *value) {
    *to++ = 0; /* literal, without indexing: RFC 7541 section 6.2.2 */
    to = integer(to, strlen(name));
    to = mempcpy(to, name, strlen(name));
    to = integer(to, strlen(value));
    return mempcpy(to, value, strlen(value));
}

static void frame_head(unsigned char *to, uint32_t size, int kind, int flags, uint32_t stream) {
    unsigned char head[9] = {size >> 16, size >> 8, size, kind, flags, stream >> 24, stream >> 16, stream >> 8, stream};
    memcpy(to, head, 9);
}

static void open_stream(struct peer *peer, long index) {
    unsigned char frame[8192], *to = frame + 9;
    char path[64];
    snprintf(path, sizeof path, "/v1/sessions/s%ld/events", (peer->first + index) % sessions);
    char *bearer = malloc(strlen(token) + 8);
    sprintf(bearer, "Bearer %s", token);
    to = field(to, ":method", "GET");
    to = field(to, ":scheme", "http");
    to = field(to, ":authority", "bench");
    to = field(to, ":path", path);
    to = field(to, "authorization", bearer);
    free(bearer);
    frame_head(frame, to - frame - 9, 1, 5, 2 * index + 1); /* HEADERS, the end of both head and stream */
    say(peer, frame, to - frame);
}

static void greet(struct peer *peer) {
    static const unsigned char opening[] =
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        "\0\0\6\4\0\0\0\0\0\0\4\x7f\xff\xff\xff"       /* SETTINGS: streams' windows as wide as can be */
        "\0\0\4\x8\0\0\0\0\0\x7f\xff\0\0";             /* WINDOW_UPDATE: the connection's too */
    say(peer, opening, sizeof opening - 1);
    for (long index = 0; index < per_peer; index++) open_stream(peer, index);
}

static void open_peer(void) {
    struct peer *peer = calloc(1, sizeof *peer);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event watch = {.events = EPOLLIN, .data.ptr = peer};
    char head[8192];
    int yes = 1;
    if ((peer->fd = socket(AF_INET, SOCK_STREAM, 0)) < 0) fail("socket");
    if (connect(peer->fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    peer->first = opened;
    peer->expected = per_peer;
    opened += per_peer;
    if (h2)
        greet(peer);
    else
        say(peer, head, request(head, sizeof head, peer->first));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, peer->fd, &watch) < 0) fail("epoll_ctl");
}

static void note_subscribed(struct peer *peer) {
    if (peer->subscribed >= peer->expected) return;
    peer->subscribed++;
    board->subscribed++;
}

/* Reading. */

static void frame_ended(struct peer *peer) {
    unsigned char answer[17];
    if (peer->kind == 1) note_subscribed(peer);
    if (peer->kind == 4 && !(peer->flags & 1)) { /* SETTINGS */
        frame_head(answer, 0, 4, 1, 0);
        say(peer, answer, 9);
    }
    if (peer->kind == 6 && !(peer->flags & 1)) { /* PING */
        frame_head(answer, 8, 6, 1, 0);
        memcpy(answer + 9, peer->body, 8);
        say(peer, answer, 17);
    }
}

/* Counts what `data` brings; a mark that began in the last read stands before it, where there is room. */
static void take(struct peer *peer, unsigned char *data, size_t size, double at) {
    data -= peer->carried;
    size += peer->carried;
    memcpy(data, peer->carry, peer->carried);
    if (!h2 && !peer->subscribed && memmem(data, size, "tailrace.ready", 14)) note_subscribed(peer);
    peer->carried = count(data, size, at);
    memcpy(peer->carry, data + size - peer->carried, peer->carried);
}

static void read_frames(struct peer *peer, unsigned char *data, size_t size, double at) {
    while (size) {
        if (peer->head_size < 9) {
            peer->head[peer->head_size++] = *data++;
            size--;
            if (peer->head_size < 9) continue;
            peer->left = peer->head[0] << 16 | peer->head[1] << 8 | peer->head[2];
            peer->kind = peer->head[3];
            peer->flags = peer->head[4];
            peer->body_size = peer->carried = 0;
        }
        size_t part = size < peer->left ? size : peer->left;
        if (peer->kind == 0) /* DATA */
            take(peer, data, part, at);
        else
            for (size_t each = 0; each < part && peer->body_size < 8; each++) peer->body[peer->body_size++] = data[each];
        data += part;
        size -= part;
        peer->left -= part;
        if (!peer->left) {
            frame_ended(peer);
            peer->head_size = 0;
        }
    }
}

static void read_peer(struct peer *peer) {
    ssize_t size = recv(peer->fd, buffer + CARRY, READ_BYTES, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) {
        board->lost_connections++;
        epoll_ctl(epoll, EPOLL_CTL_DEL, peer->fd, NULL);
        close(peer->fd);
        return;
    }
    board->bytes += size;
    if (h2)
        read_frames(peer, buffer + CARRY, size, now());
    else
        take(peer, buffer + CARRY, size, now());
}

int main(int argc, char **argv) {
    struct epoll_event ready[512];
    if (argc != 8) return 2;
    port = atoi(argv[1]);
    transport = argv[2];
    h2 = !strcmp(transport, "h2");
    sessions = atoi(argv[3]);
    wanted = (long)sessions * atoi(argv[4]);
    per_peer = h2 ? wanted / atoi(argv[5]) : 1;
    token = argv[6];
    int file = open(argv[7], O_RDWR);
    if (file < 0) fail(argv[7]);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (board == MAP_FAILED) fail("mmap");
    epoll = epoll_create1(0);
    while (!board->stop) {
        while (opened < wanted && opened - (long)board->subscribed < UNANSWERED * per_peer) open_peer();
        int found = epoll_wait(epoll, ready, 512, 100);
        for (int each = 0; each < found; each++) read_peer(ready[each].data.ptr);
    }
    return 0;
}
