// Package delivery is what a relay and the transports of an application say to
// each other: an [Attempt] goes in, one [Result] for each recipient comes out.
// [Resolver] is how the relay looks up the DNS.
//
// # Ready-made transports
//
// [SMTP] hands mail to fixed hosts by SMTP or LMTP, [Maildir] writes it into
// directories, and [Mailbox] calls a function for each recipient. Mail to mail
// exchangers needs no transport: a send connector without hosts does that.
//
// # Writing a transport
//
// Implement [Transport], or make one of a function by [TransportFunc]. Read the
// content from Open, hand it over, and say for each recipient what came of it:
// [Taken] or [Failed]. Where one answer holds for all, return
// [Attempt.All]. Success has to be said. A recipient without a Result, and one
// with the zero Result, is tried again later, so a transport that is cut off
// half way may return what it has.
//
// A transport with a method Validate() error is asked for its faults by
// relay.New, which reports them with the field that it stands in.
//
// The same message may come again: after a crash the relay cannot know what was
// handed over. The queue id and the address of the recipient tell copies apart.
//
// # What may pass
//
// An error is taken for one that may pass, whatever it is: the recipient waits
// for the next attempt, and its sender hears of it in the end. Only an [*Error]
// with Permanent ends the matter, and so do the errors that relay.Reject makes.
// Say so of what the far side has said or what is proved, such as an address
// that does not exist; never of a host that cannot be reached, a full disk or a
// lack of descriptors.
//
// The sender of a message reads in reports what the far side replied, or words
// that were written for it: the Text of a [Reply]. The text of any other error
// is for the log and the events, and the sender reads a constant text instead.
//
// # Composing
//
// A transport may be made of others. Middleware calls the one that it wraps and
// looks at the results. A transport for several services parts the recipients
// by [Attempt.For] and puts the results together. SMTP works within both,
// because the Attempt brings the relay's client along.
//
// Where only the domain decides, let the relay do it: give each service an
// entry of Transports in its Config, and name that in a send connector with the
// address spaces that the service is for. Each then has a schedule and a share
// of the places of its own, and the slow one holds up nobody else.
//
// # Time limits
//
// An attempt has 50 minutes, and less when the relay ends: heed the context. A
// transport that does not return within half a second of its end is left alone,
// and what it returns later is lost: the attempt counts as failed for now. So
// does one that panics, with a line in the log. While 1000 calls have not
// returned, transports are not called, and what is due waits.
//
// # Ending
//
// A relay that ends waits for attempts under way, as long as DrainTimeout
// allows, then ends their contexts. Return then what is known: the recipients
// that were taken are recorded, the others stay in the queue for the next
// process.
package delivery
