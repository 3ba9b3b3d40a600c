package filespool

// table finds the numbers of entries by the hash of a name. It keeps eight
// bytes a slot and no names, which are with the entries: whoever asks compares
// them.
type table struct {
	slots []uint64 // the hash, and the number plus one; 0 is free
	used  int
}

const fewestSlots = 1 << 6

func slot(hash, n uint32) uint64 { return uint64(hash)<<32 | uint64(n+1) }

// find returns the number that has a hash and that is takes for its own, or
// none.
func (t *table) find(hash uint32, is func(n uint32) bool) uint32 {
	for i := t.home(hash); t.used > 0 && t.slots[i] != 0; i = t.after(i) {
		p := t.slots[i]
		if n := uint32(p) - 1; uint32(p>>32) == hash && is(n) {
			return n
		}
	}
	return none
}

// home is where an entry with a hash stands, or behind which.
func (t *table) home(hash uint32) uint32 { return hash & uint32(len(t.slots)-1) }

func (t *table) after(i uint32) uint32 { return t.home(i + 1) }

func (t *table) add(hash, n uint32) {
	if 4*(t.used+1) > 3*len(t.slots) {
		t.resize(max(2*len(t.slots), fewestSlots))
	}
	t.used++
	t.put(slot(hash, n))
}

func (t *table) put(p uint64) {
	i := t.home(uint32(p >> 32))
	for t.slots[i] != 0 {
		i = t.after(i)
	}
	t.slots[i] = p
}

func (t *table) resize(slots int) {
	old := t.slots
	t.slots = make([]uint64, slots)
	for _, p := range old {
		if p != 0 {
			t.put(p)
		}
	}
}

// remove forgets an entry that is there.
func (t *table) remove(hash, n uint32) {
	gap := t.home(hash)
	for t.slots[gap] != slot(hash, n) {
		gap = t.after(gap)
	}
	for i := t.after(gap); t.slots[i] != 0; i = t.after(i) {
		// One that stands behind its home for the gap's sake takes it.
		home := t.home(uint32(t.slots[i] >> 32))
		if t.home(i-home) >= t.home(i-gap) {
			t.slots[gap], gap = t.slots[i], i
		}
	}
	t.slots[gap] = 0
	t.used--
	if n := len(t.slots); n > fewestSlots && 8*t.used < n {
		t.resize(n / 2)
	}
}
