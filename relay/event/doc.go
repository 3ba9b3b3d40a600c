// Package event has the words in which a relay tells what happened to mail.
//
// An [Event] is about a message, or from Delivered on about one recipient of
// it. Accepted is followed, for each recipient it names, by exactly one fate:
// Delivered, Bounced, Expired or Removed. A recipient waits as long as none
// came. [Kind.Fate] tells them apart. One that is Poisoned waits for an
// operator. Throttled and Lifted are about a destination, not about mail: they
// have no queue id, no recipient and no labels, so that whoever looks for a
// message by these finds none. Pass over both where fates are read, as over
// every kind that you do not know.
//
// Class tells why a copy failed in words that do not depend on the host: see
// package bounce.
//
// # Live and stored
//
// relay.Config.Events hears of everything, at most once: what happens while the
// process ends is not told. With relay.Config.EventLog the store keeps
// Accepted, each recipient's first Deferred, Poisoned and its fate, and
// Throttled, each written in the step that made it true. Relay.Follow reads
// those at least once, also after a crash. Rejected, Attempted, Lifted and
// later deferrals are live only.
//
// # Ids
//
// An event's ID is the same wherever and however often the event is told: it
// derives from the message, the recipient, the attempt and the kind, or from
// the throttle in place of the first two. Whoever notes the ids it has seen
// does everything once. A Rejected event has an id of
// its own, since nothing was queued. A consumer of the log may note one number
// instead, the Cursor of the last event it has done.
//
// # Stored form
//
// [Append] and [Parse] write and read JSON with the names that the fields of
// [Event] carry here in snake case: "queue_id", "report_of". Names and meaning
// stay. A later version may add fields and kinds: Parse leaves out a field it
// does not know and keeps a kind it does not know as it is, so that a program
// reads on.
package event
