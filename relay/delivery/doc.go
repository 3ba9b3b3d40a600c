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
// and what it returns later is lost: the attempt counts as failed for now.
// While 1000 calls have not returned, transports are not called, and what is
// due waits.
//
// # Shaping
//
// [Shaping] bounds what goes to a destination at once and over time: to each
// site, the hosts of one or more domains; to all sites of a [Provider]; from
// each source address; and what each [Stream] sends to a site. A stream that is
// not named weighs 1 and has the bounds of StreamSite. What the relay does
// beside that when a destination refuses is told by package relay, under
// Throttling.
//
// # Retries
//
// What failed for now is tried again by [Retry]: on routes to mail exchangers
// the waits grow to an hour, on all others they are those of Exchange, which
// are shorter: the hosts are few and known. A first attempt of which every copy
// that waits was greylisted waits six minutes in place of that; where only some
// were, the schedule counts, and is there as soon. A message that has reached
// its Expires ends without a further attempt, unless none was made since the
// relay began or the clock was set, at it or at others that a throttle holds
// back with it. The age of a message that was to wait for a
// time counts from that time on.
//
// # Crashes
//
// A panic of what the application has given ends the attempt, and is a [*Panic]
// with a line in the log. After two such attempts in a row the delivery is set
// aside until an operator releases it: then crashes count from 0, and it gets
// one attempt however old it has become. An attempt that crashes when the time
// of a message is up sets it aside at once.
//
// All recipients of an attempt crash together, unless the transport is a
// Mailbox, or fails the one with a Panic. Then the others have results of their
// own, and the delivery is set aside when only copies that crash are left of
// it: nobody waits for an operator because of another.
//
// What ends the whole process is not counted: a panic in a goroutine that a
// transport has started, a fatal error of the Go runtime, the want of memory.
// What was under way then is tried again after the next start, and a message
// that ends the process each time does so again. Recover in goroutines of your
// own, and give the result as an error. A call that is left alone counts as no
// crash.
//
// # Ending
//
// A relay that ends waits for attempts under way, as long as DrainTimeout
// allows, then ends their contexts. Return then what is known: the recipients
// that were taken are recorded, the others stay in the queue for the next
// process.
package delivery
