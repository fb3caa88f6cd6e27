/* The floor: what no server on this machine can go below, a bare write() per event and client.

   floor CONNECTIONS RATE BURST BYTES

   Prints its port, takes CONNECTIONS, answers each as `crowd` expects, and then writes RATE events a second of BYTES
   bytes, BURST at a time to one connection, whatever has come due every two milliseconds: as a service does that lets its
   broker gather. Ends when its standard input does. */

#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listening(int connections) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) < 0 || listen(fd, connections) < 0) fail("listen");
    getsockname(fd, (struct sockaddr *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static int *accepted(int fd, int connections) {
    static const char ready[] = "HTTP/1.1 200 OK\r\n\r\nevent: tailrace.ready\n\n";
    int *peers = calloc(connections, sizeof *peers), yes = 1;
    for (int each = 0; each < connections; each++) {
        peers[each] = accept(fd, NULL, NULL);
        if (peers[each] < 0) fail("accept");
        setsockopt(peers[each], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (write(peers[each], ready, sizeof ready - 1) < 0) fail("write");
    }
    return peers;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int connections = atoi(argv[1]), burst = atoi(argv[3]), bytes = atoi(argv[4]);
    double rate = atof(argv[2]), due;
    char *data = malloc((size_t)bytes * burst + 1), stamp[32];
    int *peers = accepted(listening(connections), connections);
    memset(data, 'x', (size_t)bytes * burst);
    double start = now();
    long sent = 0, next = 0;
    struct pollfd input = {.fd = 0, .events = POLLIN};
    while (poll(&input, 1, 2) == 0) {
        for (due = (now() - start) * rate; sent + burst <= due; sent += burst) {
            snprintf(stamp, sizeof stamp, "~X~T%017.6f", start + sent / rate);
            for (int each = 0; each < burst; each++) memcpy(data + each * bytes, stamp, 21);
            if (write(peers[next], data, (size_t)bytes * burst) < 0) fail("write");
            next = (next + 1) % connections;
        }
    }
    return 0;
}
