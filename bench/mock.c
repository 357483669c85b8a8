/* A mock upstream speaking OpenAI chat completions, in one thread on epoll.
 *
 * Its behaviour is in the URL path, so that one process serves every profile:
 *
 *     POST /c200-i20-b32-t0/v1/chat/completions
 *           |    |   |   `- milliseconds before the first byte of the answer
 *           |    |   `----- bytes of text in each content event, or in the unary answer
 *           |    `--------- milliseconds between content events
 *           `-------------- content events in a stream
 *
 * A streamed text is "%06d %019lld " (event number, CLOCK_MONOTONIC nanoseconds of the send) padded
 * with 'x': the reader can tell that nothing is missing, and how long each event was on its way.
 * One event is one HTTP chunk is one send(). Prints "port N" when it listens; ends on SIGTERM.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define STAMP_BYTES 27
#define MAX_TEXT 65536
#define MAX_CONNECTIONS 65536
#define CREATED "\"created\":1763673600,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\""
#define ID "\"id\":\"chatcmpl-Be0nchmark0000000000000000001\""
#define CHUNK_HEAD "data: {" ID ",\"object\":\"chat.completion.chunk\"," CREATED ","
#define DETAILS "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}"
#define STREAM_HEAD \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n" \
    "x-request-id: req_bench\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
#define MODELS "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\",\"created\":1763673600,\"owned_by\":\"bench\"}]}"

struct connection {
    int fd;
    char *in, *out;
    size_t in_length, in_capacity, out_length, out_capacity;
    int chunks, interval_ms, text_bytes, ttft_ms; /* the shape asked for */
    bool busy, streaming, with_usage;
    int sent;         /* events of this answer already sent */
    long long due_ns; /* when the next one is */
    int heap_index;   /* -1: not waiting */
};

static int epoll_fd, timer_fd;
static struct connection *heap[MAX_CONNECTIONS];
static int heap_length;
static volatile sig_atomic_t stopping;

static void stop(int signal_number) { (void)signal_number; stopping = 1; }

static void die(const char *what) { perror(what); exit(1); }

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- a binary heap of connections by due_ns ---- */

static void heap_put(int i, struct connection *c) { heap[i] = c; c->heap_index = i; }

static void heap_up(int i) {
    struct connection *c = heap[i];
    for (; i > 0 && heap[(i - 1) / 2]->due_ns > c->due_ns; i = (i - 1) / 2) heap_put(i, heap[(i - 1) / 2]);
    heap_put(i, c);
}

static void heap_down(int i) {
    struct connection *c = heap[i];
    for (int child; (child = 2 * i + 1) < heap_length; i = child) {
        if (child + 1 < heap_length && heap[child + 1]->due_ns < heap[child]->due_ns) child++;
        if (heap[child]->due_ns >= c->due_ns) break;
        heap_put(i, heap[child]);
    }
    heap_put(i, c);
}

static void wait_until(struct connection *c, long long due_ns) {
    c->due_ns = due_ns;
    heap_put(heap_length++, c);
    heap_up(heap_length - 1);
}

static void stop_waiting(struct connection *c) {
    int i = c->heap_index;
    if (i < 0) return;
    c->heap_index = -1;
    struct connection *last = heap[--heap_length];
    if (last == c) return;
    heap_put(i, last);
    heap_up(i);
    heap_down(last->heap_index);
}

/* ---- writing ---- */

static void watch(struct connection *c, int operation, unsigned events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &e) < 0) die("epoll_ctl");
}

static void keep(struct connection *c, const char *bytes, size_t length) {
    if (c->out_length + length > c->out_capacity) {
        c->out_capacity = (c->out_length + length) * 2;
        c->out = realloc(c->out, c->out_capacity);
    }
    if (c->out_length == 0) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    memcpy(c->out + c->out_length, bytes, length);
    c->out_length += length;
}

static void transmit(struct connection *c, const char *bytes, size_t length) {
    if (c->out_length == 0) {
        ssize_t n = send(c->fd, bytes, length, MSG_NOSIGNAL);
        if (n < 0) n = 0; /* full, or gone: then the read side closes it */
        bytes += n;
        length -= (size_t)n;
    }
    if (length > 0) keep(c, bytes, length);
}

static void transmit_chunk(struct connection *c, const char *head, const char *body, size_t length) {
    static char buffer[MAX_TEXT + 4096];
    int n = sprintf(buffer, "%s%zx\r\n", head, length);
    memcpy(buffer + n, body, length);
    memcpy(buffer + n + length, "\r\n", 2);
    transmit(c, buffer, (size_t)n + length + 2);
}

static void transmit_json(struct connection *c, int status, const char *body, size_t length) {
    static char buffer[MAX_TEXT + 4096];
    int n = sprintf(buffer,
                    "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\n"
                    "Connection: keep-alive\r\nContent-Length: %zu\r\n\r\n",
                    status, status == 200 ? "OK" : "Not Found", length);
    memcpy(buffer + n, body, length);
    transmit(c, buffer, (size_t)n + length);
}

/* ---- answers ---- */

static const char *text_of(const struct connection *c) {
    static char text[MAX_TEXT];
    memset(text, 'x', (size_t)c->text_bytes);
    char stamp[STAMP_BYTES + 1];
    sprintf(stamp, "%06d %019lld ", c->sent, now_ns());
    memcpy(text, stamp, STAMP_BYTES);
    text[c->text_bytes] = 0;
    return text;
}

static void answer_whole(struct connection *c) {
    static char body[MAX_TEXT + 2048];
    c->sent = 0;
    int n = sprintf(body,
                    "{" ID ",\"object\":\"chat.completion\"," CREATED ",\"choices\":[{\"index\":0,\"message\":{"
                    "\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null,\"annotations\":[]},"
                    "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":60,"
                    "\"completion_tokens\":100,\"total_tokens\":160," DETAILS "}}",
                    text_of(c));
    transmit_json(c, 200, body, (size_t)n);
    c->busy = false;
}

static void send_opening(struct connection *c) {
    static char event[1024];
    int n = sprintf(event, CHUNK_HEAD
                    "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
                    "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"a1B2c3\"}\n\n");
    transmit_chunk(c, STREAM_HEAD, event, (size_t)n);
}

static void send_content(struct connection *c) {
    static char event[MAX_TEXT + 1024];
    int n = sprintf(event, CHUNK_HEAD
                    "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,"
                    "\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"a1B2\"}\n\n",
                    text_of(c));
    transmit_chunk(c, "", event, (size_t)n);
    c->sent++;
}

static void send_ending(struct connection *c) {
    static char event[1024];
    int n = sprintf(event, CHUNK_HEAD
                    "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
                    "\"usage\":null,\"obfuscation\":\"a1\"}\n\n");
    transmit_chunk(c, "", event, (size_t)n);
    if (c->with_usage) {
        n = sprintf(event, CHUNK_HEAD
                    "\"choices\":[],\"usage\":{\"prompt_tokens\":60,\"completion_tokens\":%d,\"total_tokens\":%d,"
                    DETAILS "},\"obfuscation\":\"\"}\n\n",
                    c->chunks, 60 + c->chunks);
        transmit_chunk(c, "", event, (size_t)n);
    }
    static const char last[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    transmit(c, last, sizeof last - 1);
    c->busy = false;
}

/* Sends what is due on `c`, and says when the next is. */
static void advance(struct connection *c) {
    if (!c->streaming) {
        answer_whole(c);
        return;
    }
    if (c->sent == 0) send_opening(c);
    if (c->sent < c->chunks) send_content(c);
    if (c->sent < c->chunks)
        wait_until(c, c->due_ns + c->interval_ms * 1000000LL);
    else
        send_ending(c);
}

/* ---- reading ---- */

static void hang_up(struct connection *c) {
    stop_waiting(c);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static bool contains(const char *bytes, size_t length, const char *word) {
    return memmem(bytes, length, word, strlen(word)) != NULL;
}

static void begin_answer(struct connection *c, const char *head, const char *body, size_t length) {
    int shaped = sscanf(head, "%*s /c%d-i%d-b%d-t%d/", &c->chunks, &c->interval_ms, &c->text_bytes, &c->ttft_ms);
    if (strncmp(head, "POST ", 5) != 0 || shaped != 4) {
        bool models = strstr(head, "/models") != NULL;
        transmit_json(c, models ? 200 : 404, models ? MODELS : "{}", models ? sizeof MODELS - 1 : 2);
        return;
    }
    if (c->text_bytes < STAMP_BYTES) c->text_bytes = STAMP_BYTES;
    if (c->text_bytes >= MAX_TEXT) c->text_bytes = MAX_TEXT - 1;
    c->busy = true;
    c->sent = 0;
    c->streaming = contains(body, length, "\"stream\":true") || contains(body, length, "\"stream\": true");
    c->with_usage = contains(body, length, "\"include_usage\":true") || contains(body, length, "\"include_usage\": true");
    c->due_ns = now_ns() + c->ttft_ms * 1000000LL;
    if (c->ttft_ms > 0)
        wait_until(c, c->due_ns);
    else
        advance(c);
}

/* Answers every whole request in the buffer, one at a time. */
static void take_requests(struct connection *c) {
    while (!c->busy && c->in_length > 0) {
        c->in[c->in_length] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        if (end == NULL) return;
        char *field = strcasestr(c->in, "\r\ncontent-length:");
        size_t length = field != NULL && field < end ? strtoul(field + 17, NULL, 10) : 0;
        size_t head = (size_t)(end - c->in) + 4;
        if (c->in_length < head + length) return;
        *end = 0;
        begin_answer(c, c->in, c->in + head, length);
        memmove(c->in, c->in + head + length, c->in_length - head - length);
        c->in_length -= head + length;
    }
}

static bool receive(struct connection *c) {
    for (;;) {
        if (c->in_capacity - c->in_length < 4096) {
            c->in_capacity = c->in_capacity ? c->in_capacity * 2 : 8192;
            c->in = realloc(c->in, c->in_capacity);
        }
        ssize_t n = recv(c->fd, c->in + c->in_length, c->in_capacity - c->in_length - 1, 0);
        if (n > 0) {
            c->in_length += (size_t)n;
            continue;
        }
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    }
}

static void flush(struct connection *c) {
    ssize_t n = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL);
    if (n <= 0) return;
    c->out_length -= (size_t)n;
    memmove(c->out, c->out + n, c->out_length);
    if (c->out_length == 0) watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void welcome(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->heap_index = -1;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int listen_on_loopback(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 4096) < 0) die("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void set_alarm(void) {
    static long long armed;
    long long due = heap_length > 0 ? heap[0]->due_ns : 0;
    if (due == armed) return;
    armed = due;
    struct itimerspec when = {.it_value = {due / 1000000000LL, due % 1000000000LL}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void send_all_due(void) {
    long long until = now_ns();
    while (heap_length > 0 && heap[0]->due_ns <= until) {
        struct connection *c = heap[0];
        stop_waiting(c);
        advance(c);
        if (!c->busy) take_requests(c);
    }
}

static void serve(int listener) {
    struct epoll_event events[256];
    while (!stopping) {
        set_alarm();
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL) welcome(listener);
            else if (c == (void *)&timer_fd) { unsigned long long ticks; if (read(timer_fd, &ticks, 8) < 0) continue; }
            else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !receive(c)) hang_up(c);
            else {
                if (events[i].events & EPOLLOUT) flush(c);
                take_requests(c);
            }
        }
        send_all_due();
    }
}

int main(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = stop}, NULL);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listener = listen_on_loopback();
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    e.data.ptr = &timer_fd;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e);
    serve(listener);
    return 0;
}
