// Command bench runs the gateway example and Postfix side by side and prints
// what each takes for the same mail.
//
// Each round starts one server afresh, warms it up, measures, and stops it; the
// servers take turns on the cores of this machine, with their queues on the
// same filesystem. The figures are medians over the rounds:
//
//   - accepted/s: messages over the time until the last is accepted
//   - end to end/s: messages over the time until the next hop has the last
//   - CPU s per 1,000: user and system time of all the server's processes, also
//     of those that have ended, over the messages
//   - peak MB: the highest sum of the proportional set sizes of the server's
//     processes
//
// Below stand the bars that the gateway is to reach; -strict fails where one is
// missed.
//
// Postfix runs with its own defaults, as root starts it, and syncs its queue
// files; it logs to syslog, which costs it nothing when nobody listens there.
// The gateway syncs before each 250 and writes its events to a file. Needs
// Linux, root, and Debian's packages postfix and opendkim.
//
// # Scenarios
//
// scenarios.go has them as data. Where Postfix's smtp-source and smtp-sink can
// send and take the mail, they do; else programs of our own, which do so for
// both servers alike.
//
//   - far: each octet takes 25 ms more in each direction to the next hop
//   - mx: each domain has a mail exchanger of its own, from a DNS server on a
//     loopback address that both servers see in the place of the system's, in a
//     mount namespace of theirs
//   - dkim: the gateway signs by itself, Postfix by opendkim, whose time and
//     memory count as Postfix's; RSA with 2048 bits
//   - tls: STARTTLS on both sides, a new session for each message that comes
//     in, by the key exchange that both servers know
//   - streams: the gateway divides the mail into 1,000 streams, which Postfix
//     does not have
//   - queued, idle: a next hop that is down; sessions that say nothing, of the
//     gateway alone
//
// The gateway alone runs these:
//
//   - backlog: it starts with 1,000,000 deliveries for 10,000 domains, of
//     which one in a hundred refuses connections, in one stream and in 1,000;
//     beside it a start with as few as are measured. Each delivery has a
//     connection of its own, so that the rates compare
//   - fair: 20 messages a second to 50 domains, 50 ms away; first alone, then
//     with 100,000 messages of another stream for the same domains, four
//     destinations that take connections and say nothing, and a provider of
//     ten domains, allowed 20 connections, that takes a second for each answer
//
// # Use
//
//	go run ./bench            # all scenarios, 3 rounds
//	go run ./bench -quick     # a tenth of the messages, 1 round
//	go run ./bench -scenario b,d2 -rounds 5
//	go run ./bench -event-log # the events are kept in the queue as well
package main
