// Package sched leases due deliveries from the spool and hands them to workers:
// bounded overall, for each site and for each owner, fair between streams and
// between sites, and careful with sites that do not answer.
//
// A key is what the store keeps deliveries by. A [Site] is where a key leads:
// the mail exchangers of its domain, or a route that has none. [Config].Site
// tells, and may tell otherwise later: then the key moves, and what is under
// way is counted where it began. What is learned is kept by site.
//
// # Places
//
// Of [Config].Concurrency places a tenth, but one of two at least, is for local
// routes alone (mailboxes and the application's transports), and a tenth for
// conclusions. Of the others, which are open to all sites,
//
//   - a send connector, with all its sites, may hold at most twice as many as
//     are left free, so that there are always some;
//   - a site at most four times as many as it leaves of those that its
//     connector may take, and while nothing ends on it as many as it leaves;
//   - an origin (a user, a host, or a stream of the application's) at most four
//     times as many as are left free;
//   - a message an eighth;
//   - the reports that one origin has caused an eighth, all reports a quarter;
//   - the sites that nobody answered on, when last tried, a quarter.
//
// A connector, an origin or a message leaves one place at least, if there are
// two.
//
// # A site
//
// A site begins with five places and gains one with each success, up to
// [Config].RouteLimit (slow start). When it refuses for its rate
// ([bounce.RateLimited]) its places are halved, once for all that were under
// way together; from then on it gains one for as many
// successes as it has places. When its next hop cannot be reached several times
// in a row the site rests for a while (cool-off), then a single delivery tries
// it.
//
// [Config].Limits bound what goes to a site, to all sites of its provider, and
// from one source to it; [Config].Stream what a stream sends to it. A rate is
// kept evenly: each delivery comes its interval after the last, but some may be
// begun at once after a pause. What a throttle leaves of a site,
// [Throttles].Slower, counts for its places, connections and rates. What
// [Throttles].Until or the limit of a stream keeps back goes to the store, for
// a second, and a hundredth for each that is kept back already.
//
// # Lanes
//
// What was leased and waits for its turn is in lanes, one for each stream, and
// one for each origin of mail without a stream. They take turns by deficit
// round robin, over all sites: a turn is worth the weight of the stream, and a
// delivery costs one, and another one for each 64 KiB. A lane passes over what
// has no room at its site, and its sites take turns. So nobody's mail waits for
// a place behind all that somebody else has queued, wherever that goes.
//
// So that a lane has something when its turn comes, the store is asked again
// when half of what waits for a site has gone, or as many of its lanes are
// empty as are not; of no stream that has plenty there, nor of one that has its
// part of all that may wait ([spool.LeaseRequest].NotStreams). A store knows no
// origins: among those, what is due first is leased first.
//
// # What waits
//
// A delivery holds a place until it is settled, but counts at its site, and for
// its owners, only until its attempt has left the site: a store that takes its
// time keeps no connection from the next. Deliveries of a site that has no room
// are not leased, unless its attempts go on to end: then up to as many as may
// be under way on it are leased ahead, or eight, and eight more for each of
// several lanes, 64 at most, and of a slow site no more than end in a second;
// of all sites together twice as many as there are free places, of which each
// lane has a part, and one in any case, and with those under way 20,000. More
// would be others' to deliver, where several processes share the store, and
// cost a renewal each.
//
// What waits so while nothing ends for a second, at its site and of its
// connector, goes back to the store, unless only a rate keeps it: then what
// goes in a minute is leased ahead, or two, so that lanes have their turns at a
// slow rate as well. One that somebody else's bound keeps from beginning goes
// back to the store at once, for a hundredth of a second to 15 seconds: each
// such bound sends those it keeps back in a row, so that looking at them again
// costs little however many they are.
//
// No step looks at all sites that are known, but only at those that have
// something under way or waiting, or no room.
//
// # Asking
//
// A store is asked for many deliveries at a time, since each call costs a
// database much more than each delivery. Where there is more to do than there
// are places, the scheduler asks again when an eighth of them is free, or after
// 10 milliseconds; where a site has used up what was leased ahead, at once. A
// new message makes it ask at once, too, but not within 10 milliseconds of the
// last time. What goes back does so in few calls. A store that has failed is
// left alone for a second, whatever comes meanwhile.
//
// # What is overdue
//
// A delivery that [Config].Overdue calls Expired is concluded, not attempted.
// Once a second, what has become due of sites in trouble is looked at, and
// concluded if it is Expired or Late, or Untried, which takes half of the
// places at most. The rest is left alone until that changes or its site has
// rested: a thousand of them for a second at least, 5 seconds if the site does
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
// ended. What the store fails to settle stays leased for a while
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
