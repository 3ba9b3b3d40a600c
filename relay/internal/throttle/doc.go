// Package throttle decides what the relay does by itself because remote hosts
// refuse: it sends more slowly to a site, or nothing for a while. A throttle is
// no fate. What it holds back waits, grows old, and is delivered or expires.
//
// # What is learned from
//
// [Throttles.Learn] takes one [Lesson] for each attempt. The caller gives only
// what a remote host has replied to the relay's own client: never a local
// cause, a transport of the application's, or a reply of the relay's own.
//
// # Rules
//
// RateLimited slows a site × source down: to half of its rate and connections
// for 30 minutes, then a tenth more every 5 minutes. Refused again, but not
// within 5 minutes, it is halved again, to a sixteenth at least.
//
// Reputation makes the mail of a sender's domain rest at a site × source for 2
// hours, or all mail there if it is about more than one domain.
//
// Authentication makes the mail of a stream × sender's domain rest for an hour
// at a site, or everywhere if several providers say so: of other sites anybody
// can have as many as it takes.
//
// # One refusal is not a site's
//
// Refusals are counted by message, and every copy that is taken takes one of
// them back: so they count only while more is refused than taken. A throttle
// begins with the third, within an hour. The wider one of a rule begins with
// the sixth, if they are of two of its parts (sender's domains, or providers),
// and counts three of each; a refused connection is no sender's and counts
// twice there. For RateLimited it is enough by itself.
//
// # The end of a rest
//
// What waits may reach its age. A refusal of others speaks for it, and it ends
// without an attempt, if it was in time when the rest began, or one has tried
// since: what had expired before, in the relay's downtime, is not to end by it.
//
// When a rest is over, one delivery tries. If it is taken the rest has ended.
// If it is refused for the same reason, the next rest is twice as long, up to
// four times the first. Otherwise the next delivery tries.
//
// # Memory
//
// At most 1024 throttles and 4096 counts are kept: the throttle that ends
// first, and the oldest count, make room. They are lost with the process, and
// relays that share a store learn each by itself.
package throttle
