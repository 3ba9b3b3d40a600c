package auth

import (
	"math"
	"time"
)

// ways is how many places a key may have in a table.
const ways = 8

// failures are those of one key. Its methods do nothing on nil.
type failures struct {
	key     uint64
	secret  uint64        // of the last failure, 0 if unknown
	typed   uint64        // the same with the name as typed
	seen    time.Duration // when that was found wrong last
	at      time.Duration // when count was right
	next    time.Duration // no attempt before
	count   float32
	running uint32 // attempts under way
	waiting uint32
}

func (f *failures) wait(now time.Duration) time.Duration {
	if f == nil {
		return 0
	}
	return f.next - now
}

// busy tells whether attempts under way must end before another may begin, so
// that guesses made side by side count as if made one after the other.
func (f *failures) busy(free float32) bool {
	return f != nil && float32(f.running) >= max(free-f.count, 1)
}

func (f *failures) enter() *failures {
	if f != nil {
		f.running++
	}
	return f
}

func (f *failures) leave() {
	if f != nil {
		f.running--
	}
}

func (f *failures) fail(now, delay time.Duration) {
	f.count++
	f.delay(now, delay)
}

func (f *failures) delay(now, delay time.Duration) {
	if delay > 0 {
		f.next = max(f.next, now+delay)
	}
}

// A failureTable holds the failures of as many keys as it has places.
type failureTable struct {
	rows     []([ways]failures)
	inherit  float32 // most that a newcomer inherits
	halfLife float64
}

func newFailureTable(entries int, inherit float32, halfLife time.Duration) *failureTable {
	return &failureTable{
		rows:     make([][ways]failures, (entries+ways-1)/ways),
		inherit:  inherit,
		halfLife: float64(halfLife),
	}
}

func (t *failureTable) row(key uint64) *[ways]failures {
	return &t.rows[key%uint64(len(t.rows))]
}

// fade forgets what time has made unimportant.
func (t *failureTable) fade(f *failures, now time.Duration) {
	if f.count > 0 && now > f.at {
		f.count *= float32(math.Exp2(-float64(now-f.at) / t.halfLife))
	}
	f.at = now
}

// find returns the failures of a key, or nil.
func (t *failureTable) find(key uint64, now time.Duration) *failures {
	if key == 0 {
		return nil
	}
	row := t.row(key)
	for i := range row {
		if f := &row[i]; f.key == key {
			t.fade(f, now)
			return f
		}
	}
	return nil
}

// claim returns the failures of a key and makes room for it when it is new: in
// the place with the fewest failures. It returns nil if attempts are under way
// for every place.
func (t *failureTable) claim(key uint64, now time.Duration) *failures {
	if f := t.find(key, now); f != nil {
		return f
	}
	var least *failures
	row := t.row(key)
	for i := range row {
		f := &row[i]
		if f.running > 0 || f.waiting > 0 {
			continue
		}
		t.fade(f, now)
		if least == nil || f.count < least.count {
			least = f
		}
	}
	if least != nil {
		*least = failures{key: key, at: now, count: min(least.count, t.inherit)}
	}
	return least
}

// A goodTable remembers keys; the one seen least recently makes room.
type goodTable struct {
	rows [][ways]struct {
		key uint64
		at  time.Duration
	}
}

func newGoodTable(entries int) *goodTable {
	t := new(goodTable)
	t.rows = append(t.rows, make([][ways]struct {
		key uint64
		at  time.Duration
	}, (entries+ways-1)/ways)...)
	return t
}

func (t *goodTable) has(key uint64) bool {
	row := &t.rows[key%uint64(len(t.rows))]
	for i := range row {
		if row[i].key == key {
			return key != 0
		}
	}
	return false
}

func (t *goodTable) add(key uint64, now time.Duration) {
	row := &t.rows[key%uint64(len(t.rows))]
	oldest := &row[0]
	for i := range row {
		if row[i].key == key {
			oldest = &row[i]
			break
		}
		if row[i].at < oldest.at {
			oldest = &row[i]
		}
	}
	oldest.key, oldest.at = key, now
}

func (t *goodTable) remove(key uint64) {
	row := &t.rows[key%uint64(len(t.rows))]
	for i := range row {
		if row[i].key == key {
			row[i].key, row[i].at = 0, 0
		}
	}
}
