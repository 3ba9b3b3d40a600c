// Package simtest runs whole relays in memory, driven by a seed: clients that
// send, next hops that stall, lie, cut and limit, a DNS that errs, a disk that
// fails, fills and forgets what was not synced, processes that die at any step,
// reloads, and a wall clock that steps. Everything happens inside a bubble of
// testing/synctest, so that days pass in seconds.
//
// # Nodes
//
// With [Plan].Nodes, several relays of one configuration share one store, which
// outlives their processes. Each dies and comes back on its own, each has a
// wall clock of its own, and each may lose the way to the store, with an answer
// or in silence, or stand still and go on, for up to three times its lease.
// These faults aim at the worst moment: a next hop has taken a message, and has
// not answered. Some processes lease what they commit in the same step
// ([Expecter]), and die with it.
//
// # Next hops
//
// Most next hops offer PIPELINING and CHUNKING or not, skip the octets of a
// chunk that they refuse or run them as commands, take so many messages on a
// connection, and write replies one by one, together or in pieces, by seed.
// They close behind any octet or reply. Few connections lead to them, so that
// deliveries go ahead. For a while they refuse for the rate, the address or the
// sender, and the relay throttles what goes there.
//
// # Operators
//
// Some messages crash the mailboxes until an operator has seen to them, who
// tries what was set aside again, or cancels it. In the end all throttles are
// lifted or end.
//
// # The history
//
// A [World] writes down what was acknowledged to clients, what the next hops
// have taken and refused, what landed in the mailboxes, and what the event log
// says. When all faults are mended and the queue is empty, [World.Run] holds
// it against the invariants of docs/invariants.md:
//
//	I1   what was acknowledged is known to the log, and has a fate
//	I2   each recipient has exactly one fate, and one that is true
//	I8   no report makes another, and no failure is reported twice
//	I9   each copy beyond the first has a cause: the hop that took it could
//	     not say so, or the node that made it could not write it down; and a
//	     node without the store stops when its leases have ended
//	I12  what bounced was refused by somebody, and what expired was old
//	I13  a transport that says nothing has not delivered
//	I14  mail to healthy hosts does not wait for the others
//
// Nothing that stands in a message is run by a host as a command, no copy goes
// to anybody but whom its message is for, nothing that may have been taken is
// tried again at once, and nothing waits beyond its end, but for an operator or
// for its first attempt behind a rest.
//
// Beside them it sees what the application has asked for: a message with a Key
// that was sent again is one message, none goes out before its time or after it
// was cancelled, and none expires too soon. The place of who follows the event
// log survives all that happens to the process.
//
// # Seeds
//
// A seed decides what is sent, which faults come, and when. It does not decide
// how goroutines that run at the same time interleave, so a seed that fails is
// run again a few times.
package simtest
