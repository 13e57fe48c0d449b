/* The physical limit of a CoAP server: it answers each request with 2.05 and text of a given
 * length without looking at more than the header and the token.
 *
 *   echo one|batch|fan LENGTH
 *
 * one:   recvfrom and sendto for each datagram.
 * batch: recvmmsg and sendmmsg, up to 64 datagrams in a call.
 * fan:   each GET registers its sender; a PUT sends all of them a notification, in batches of 64.
 *
 * It prints "listening ADDRESS:PORT" and ends by itself after half an hour. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 2048, MAX_OBSERVERS = 1 << 20 };

struct lane { /* one direction of a batch */
	struct mmsghdr msg[BATCH];
	struct iovec vec[BATCH];
	struct sockaddr_in peer[BATCH];
	uint8_t data[BATCH][ROOM];
};

struct observer {
	struct sockaddr_in peer;
	uint8_t token[8], token_length;
};

static struct lane in, out;
static uint8_t payload[1024];
static int length, sock;

static void prepare(struct lane *l)
{
	for (int i = 0; i < BATCH; i++) {
		l->vec[i].iov_base = l->data[i];
		l->vec[i].iov_len = ROOM;
		l->msg[i].msg_hdr.msg_iov = &l->vec[i];
		l->msg[i].msg_hdr.msg_iovlen = 1;
		l->msg[i].msg_hdr.msg_name = &l->peer[i];
		l->msg[i].msg_hdr.msg_namelen = sizeof l->peer[i];
	}
}

static void send_batch(int n)
{
	for (int done = 0; done < n;) {
		int sent = sendmmsg(sock, out.msg + done, n - done, 0);
		if (sent <= 0)
			return;
		done += sent;
	}
}

/* answer builds the response to a request of n bytes and returns its length, 0 for none. */
static int answer(uint8_t *to, const uint8_t *from, int n)
{
	int token = n < 4 ? 9 : from[0] & 15;
	if (token > 8 || n < 4 + token || from[1] == 0)
		return 0;
	memcpy(to, from, 4 + token);
	to[0] = 0x60 | token; /* Acknowledgement */
	to[1] = 0x45;         /* 2.05 */
	uint8_t *p = to + 4 + token;
	*p++ = 0xc0; /* Content-Format: text */
	*p++ = 0xff;
	memcpy(p, payload, length);
	return p + length - to;
}

static void serve_one(void)
{
	for (;;) {
		socklen_t size = sizeof in.peer[0];
		int n = recvfrom(sock, in.data[0], ROOM, 0, (struct sockaddr *)&in.peer[0], &size);
		n = answer(out.data[0], in.data[0], n);
		if (n > 0)
			sendto(sock, out.data[0], n, 0, (struct sockaddr *)&in.peer[0], size);
	}
}

static void serve_batch(void)
{
	for (;;) {
		int got = recvmmsg(sock, in.msg, BATCH, MSG_WAITFORONE, NULL), ready = 0;
		for (int i = 0; i < got; i++) {
			int n = answer(out.data[ready], in.data[i], in.msg[i].msg_len);
			if (n == 0)
				continue;
			out.vec[ready].iov_len = n;
			out.peer[ready++] = in.peer[i];
		}
		send_batch(ready);
	}
}

static void notify(const struct observer *all, int count, uint8_t sequence)
{
	static uint16_t id;
	int ready = 0;
	for (int i = 0; i < count; i++) {
		uint8_t *start = out.data[ready], *p = start;
		int token = all[i].token_length;
		id++;
		*p++ = 0x50 | token; /* Non-confirmable */
		*p++ = 0x45;
		*p++ = id >> 8;
		*p++ = id;
		memcpy(p, all[i].token, token);
		p += token;
		*p++ = 0x61; /* Observe */
		*p++ = sequence;
		*p++ = 0x60; /* Content-Format */
		*p++ = 0xff;
		memcpy(p, payload, length);
		out.vec[ready].iov_len = p + length - start;
		out.peer[ready++] = all[i].peer;
		if (ready == BATCH || i == count - 1) {
			send_batch(ready);
			ready = 0;
		}
	}
}

static void serve_fan(void)
{
	struct observer *all = calloc(MAX_OBSERVERS, sizeof *all);
	int count = 0;
	uint8_t sequence = 2;
	for (;;) {
		socklen_t size = sizeof in.peer[0];
		int n = recvfrom(sock, in.data[0], ROOM, 0, (struct sockaddr *)&in.peer[0], &size);
		int reply = answer(out.data[0], in.data[0], n);
		if (reply == 0)
			continue;
		sendto(sock, out.data[0], reply, 0, (struct sockaddr *)&in.peer[0], size);
		if (in.data[0][1] == 1 && count < MAX_OBSERVERS) {
			struct observer *o = &all[count++];
			o->peer = in.peer[0];
			o->token_length = in.data[0][0] & 15;
			memcpy(o->token, in.data[0] + 4, o->token_length);
		} else if (in.data[0][1] == 3) {
			notify(all, count, ++sequence);
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in me = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof me;
	if (argc != 3 || (length = atoi(argv[2])) < 0 || length > (int)sizeof payload)
		return 2;
	alarm(1800);
	for (int i = 0; i < length; i++)
		payload[i] = '0' + i % 10;
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(sock, (struct sockaddr *)&me, size) || getsockname(sock, (struct sockaddr *)&me, &size)) {
		perror("echo");
		return 1;
	}
	prepare(&in);
	prepare(&out);
	printf("listening 127.0.0.1:%d\n", ntohs(me.sin_port));
	fflush(stdout);
	if (!strcmp(argv[1], "one"))
		serve_one();
	else if (!strcmp(argv[1], "batch"))
		serve_batch();
	else
		serve_fan();
}
