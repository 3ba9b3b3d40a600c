// Package nodes knows the other relays that share a store: how many there are,
// and whether one of them serves a route that this one does not.
//
// # Parts
//
// A relay gives a sign of life six times in the time that one lasts, 30 seconds
// or the time of a lease if that is less, under a name made for each run. The
// store counts those who do. Each takes its part of a limit that they share:
// the whole divided by how many they are, and one more for those of the lowest
// ranks until the whole is used up. While the store does not answer, the last
// figures count.
//
// # Routes
//
// Each relay tells the store which routes it serves: for each of them there is
// a group, in which it counts for the time of a lease. A relay that meets mail
// of a route that it does not know looks up whether somebody else serves it.
// Until that is known, and for a while after nobody does any more, the answer
// is that somebody may: mail that was routed anew too early could not be called
// back. A relay that ends tells nothing of its routes, so that it finds its
// mail when it starts again in time; the last one takes its routes along.
//
// # Concurrency
//
// Counting, announcing and asking have a goroutine each, so that none is held
// up by another. Each call of the store has a clock.
package nodes
