package filespool

import (
	"bytes"
	"testing"
)

// FuzzMend changes one byte, which is put right, unless it looks like the end
// of an unfinished write, and two bytes, which is noticed.
func FuzzMend(f *testing.F) {
	f.Add([]byte("From and to, and more of it"), 3, byte(1))
	f.Add([]byte{1, 2, 0, 0}, 1, byte(2))
	f.Fuzz(func(t *testing.T, p []byte, at int, bits byte) {
		if len(p) == 0 || len(p) > 4096 || bits == 0 {
			return
		}
		at = int(uint(at) % uint(len(p)))
		want := sum(p)
		q := bytes.Clone(p)
		q[at] ^= bits
		unfinished := len(bytes.TrimRight(q[at:], "\x00")) == 0
		if mended := mend(q, want); mended == unfinished || mended && !bytes.Equal(p, q) {
			t.Errorf("%x with byte %d changed by %x: mended %v to %x", p, at, bits, mended, q)
		}
	})
}
