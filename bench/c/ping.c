/* The physical limit of a transfer in blocks one after the other, and of a client with one
 * request at a time: round trips with nothing done in between, asleep while the answer is on its way.
 *
 *   ping PORT COUNT
 *
 * It prints the seconds that they took, and the seconds of CPU time. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static double clock_of(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	alarm(60);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int sock = socket(AF_INET, SOCK_DGRAM, 0), count = atoi(argv[2]);
	struct timeval patience = {.tv_sec = 1};
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	uint8_t request[] = {0x44, 1, 0, 0, 1, 2, 3, 4, 0xb3, 'b', 'i', 'g', 0xc2, 0, 6}, answer[2048];
	double start = clock_of(CLOCK_MONOTONIC), cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < count; i++) {
		request[2] = i >> 8;
		request[3] = i;
		sendto(sock, request, sizeof request, 0, (struct sockaddr *)&to, sizeof to);
		if (recv(sock, answer, sizeof answer, 0) < 0) {
			perror("ping");
			return 1;
		}
	}
	printf("%.9f %.9f\n", clock_of(CLOCK_MONOTONIC) - start, clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}
