package filespool

import (
	"math/rand/v2"
	"testing"
)

// A table finds what is in it, whatever came and went, and takes no more memory
// than that needs. Few different hashes make many stand in each other's places.
func TestTableFindsWhatIsInIt(t *testing.T) {
	for _, hashes := range []uint32{1, 50, 1 << 31} {
		r := rand.New(rand.NewPCG(1, uint64(hashes)))
		hash := func(n uint32) uint32 { return n * 2654435761 % hashes }
		var b table
		in := make(map[uint32]bool)
		for step := range 40_000 {
			n := r.Uint32N(500)
			if step/2000%2 == 1 && r.IntN(3) > 0 { // it shrinks now and then
				n = r.Uint32N(20)
			}
			is := func(m uint32) bool { return m == n }
			if got := b.find(hash(n), is); (got == n) != in[n] || got != n && got != none {
				t.Fatalf("%d: found %d, want it to be there: %v", n, got, in[n])
			}
			if in[n] {
				b.remove(hash(n), n)
				delete(in, n)
			} else if step/2000%2 == 0 || n < 10 {
				b.add(hash(n), n)
				in[n] = true
			}
		}
		if b.used != len(in) {
			t.Errorf("%d entries, want %d", b.used, len(in))
		}
		for n := range in {
			b.remove(hash(n), n)
		}
		if b.used != 0 || len(b.slots) > fewestSlots {
			t.Errorf("empty, it has %d entries and %d slots", b.used, len(b.slots))
		}
	}
}
