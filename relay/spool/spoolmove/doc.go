// Package spoolmove moves a queue from one store to another, such as from the
// directory that an application began with to its database.
//
//	n, err := spoolmove.Move(ctx, from, to, nil)
//
// # What is moved
//
// Every message that waits or is on hold: its id, content and envelope, octet
// by octet, and each delivery that is left of it, with recipients, key,
// attempts and times. Only the numbers of deliveries within a message are given
// anew.
//
// # Interruption
//
// A message is committed to the target first, then ended in the source. A Move
// that was killed in between, or failed, is simply called again. It knows what
// it has moved by an idempotency key that each commit carries, also if a relay
// has sent the message since. That key is kept for a week: call Move again
// before that. A message that the target has without such a key is left, so
// that nothing is lost when both are the same store.
//
// # Who works meanwhile
//
// No relay may run on the source: Move answers [ErrServed] when it finds one,
// and the lock of a filespool keeps them apart anyhow. One may run on the
// target. Each delivery is leased from the source. Those that somebody holds
// are left, and counted; what a Move that was killed held is free again after a
// minute, for which it waits.
//
// # What is left
//
// Messages that are damaged stay where they are: a relay that runs on the
// source once more tells their senders. The log of events stays as well, with
// the places of its consumers. Let each consumer read it to its end before the
// move, or from the old store later; in the target they begin anew, and fates
// there may be of messages whose Accepted event is in the old log. Idempotency
// keys cannot be listed, so a message that is submitted again after the move is
// another one, unless its key has ended before. Counters and values of
// [spool.Shared] begin anew.
package spoolmove
