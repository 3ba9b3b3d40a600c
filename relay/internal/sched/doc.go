// Package sched leases due deliveries from the spool and hands them to workers:
// bounded overall, for each route and for each owner, and careful with routes
// that do not answer. A route is what a [spool.Key] names without its stream.
//
// # Places
//
// Of [Config].Concurrency places a tenth, but one of two at least, is for local
// routes alone (mailboxes and the application's transports), and a tenth for
// conclusions. Of the others, which are open to all routes,
//
//   - a send connector, with all its routes, may hold at most twice as many as
//     are left free, so that there are always some;
//   - an origin (a user, a host or the application) at most four times as many
//     as are left free;
//   - a message an eighth;
//   - the reports that one origin has caused an eighth, all reports a quarter;
//   - the routes that nobody answered on, when last tried, a quarter.
//
// A connector, an origin or a message leaves one place at least, if there are
// two.
//
// A route begins with a few places and gains one with each success up to its
// limit (slow start). When its next hop cannot be reached several times in a
// row the route rests for a while (cool-off), then a single delivery tries it.
//
// # What waits
//
// A delivery holds a place only while its attempt goes on. Deliveries of a
// route that has no room are not leased, unless its attempts go on to end: then
// up to as many as may be under way on it, or eight, are leased ahead, and in
// all twice as many as there are free places. What waits so while nothing ends
// for a second goes back to the store. One that somebody else's bound keeps
// from beginning goes back to the store at once, for a hundredth of a second to
// 15 seconds: each such bound sends those it keeps back in a row, so that
// looking at them again costs little however many they are.
//
// # Asking
//
// A store is asked for many deliveries at a time, since each call costs a
// database much more than each delivery. Where there is more to do than there
// are places, the scheduler asks again when an eighth of them is free, or after
// 10 milliseconds; where a route has used up what was leased ahead, at once. A
// new message makes it ask at once, too, but not within 10 milliseconds of the
// last time. What goes back does so in few calls.
//
// # What is overdue
//
// A delivery that [Config].Overdue calls Expired is concluded, not attempted.
// Once a second, what has become due of routes in trouble is looked at, and
// concluded if it is Expired or Late, or Untried, which takes half of the
// places at most. The rest is left alone until that changes or its route has
// rested: a thousand of them for a second at least, 5 seconds if the route does
// not rest, about a minute at most.
//
// # Leases
//
// A lease lasts [Config].LeaseTime, two minutes, and in a quarter of it all
// that are held are renewed in one call, so that what a killed process held
// goes out again within two and a half minutes.
//
// A lease that the store says is lost, or that could not be renewed until it
// has ended by this process's own clock, may be somebody else's. It counts from
// the start of the last call that went through, and is looked at when an
// attempt begins: a process may be stopped at any point and go on hours later.
// What waits with such a lease is not begun, and what is under way has its
// context ended, with the cause spool.ErrLeaseLost. The store may refuse its
// settlement, and it is not begun a second time here before that attempt has
// ended. What the store fails to settle stays leased for an hour
// ([Scheduler.Unsettled]).
//
// # Several processes
//
// A delivery that [Config].Elsewhere says is for another process goes back at
// once, and nothing is asked for of its route for 10 milliseconds, which double
// each time to 15 seconds.
//
// # Concurrency
//
// One goroutine runs [Scheduler.Run] and owns all state but the list of what is
// held; one renews that, and one looks for what was not renewed in time; each
// delivery has a goroutine of its own, which ends with the delivery.
package sched
