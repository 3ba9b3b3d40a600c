package filespool

// A record is a header, a meta part and a content part, filled up to a multiple
// of eight bytes. All numbers are little endian.
//
//	 0  mark        8  the same in every record of a store, chosen at random, so
//	                   that no message can contain what looks like a record
//	 8  seq         8  rises through the log
//	16  kind        1
//	17  version     1
//	18  (zero)      2
//	20  meta        4  length
//	24  content     4  length
//	28  metaSum     4  CRC-32C
//	32  contentSum  4  CRC-32C
//	36  segment     4  its number: leftovers of a reused file do not count
//	40  batch       4  how many records were written before it in the same step
//	44  sum         4  CRC-32C of the above
const (
	headerSize = 48
	version    = 1
	alignment  = 8
)

const (
	// a message with its deliveries, and settlements; also a message moved by
	// the cleaner
	kindCommit = 1
	kindSettle = 2 // settlements
	kindClose  = 3 // the store was closed: all before it is complete
)

// The meta part of a commit:
//
//	id, size, flags, [sum of the own file], [events], [claim]
//	deliveries: number, then each: seq, key, due, [flags], rest
//	settlements: number, then each: id, seq, flags, [key, due, rest]
//	rest of the message, [number of signatures, [stream, report of]]
//
// The rest of a delivery or of a settlement has its length in front. A record
// of settlements alone is their number and they, as above, and then [events].
//
// What the index needs stands in front or can be reached without reading the
// rests.

const (
	flagOwnFile = 1 << iota
	flagUTF8
	flagEvents
	flagClaim
	flagStates // a standing stands behind the due time of each delivery
)

const (
	flagRemaining = 1 << iota
	flagOnHold
)

// standing is how a delivery stands, in a byte of a record: flagOnHold, and its
// crashes in the upper four bits, which earlier revisions left 0 and did not
// read.
type standing byte

const (
	crashesShift = 4
	maxCrashes   = 15
)

func standingOf(held bool, crashes int) standing {
	s := standing(min(max(crashes, 0), maxCrashes)) << crashesShift
	if held {
		s |= flagOnHold
	}
	return s
}

// readStanding leaves out the other flags of the byte.
func readStanding(b byte) standing { return standing(b & (flagOnHold | maxCrashes<<crashesShift)) }

func (s standing) held() bool   { return s&flagOnHold != 0 }
func (s standing) crashes() int { return int(s >> crashesShift) }
