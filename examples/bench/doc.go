// Command bench runs the gateway example and Postfix side by side and prints
// what each takes for the same mail.
//
// Both relay everything to Postfix's smtp-sink, fed by Postfix's smtp-source,
// on the cores of this machine and with their queues on the same filesystem.
// Each round starts one server afresh, warms it up, measures, and stops it; the
// servers take turns. The figures are medians over the rounds:
//
//   - accepted/s: messages over the time smtp-source takes
//   - end to end/s: messages over the time until smtp-sink has counted the last
//   - CPU s per 1,000: user and system time of all the server's processes, also
//     of those that have ended, over the messages
//   - peak MB: the highest sum of the proportional set sizes of the server's
//     processes
//
// Postfix runs with its own defaults, as root starts it, and syncs its queue
// files; it logs to syslog, which costs it nothing when nobody listens there.
// The gateway syncs before each 250 and writes its events to a file. Needs
// Linux, root, and Debian's package postfix.
//
//	go run ./bench            # all scenarios, 3 rounds
//	go run ./bench -quick     # a tenth of the messages, 1 round
//	go run ./bench -scenario b,d2 -rounds 5
//	go run ./bench -event-log # the events are kept in the queue as well
package main
