package filespool

import (
	"bytes"
	"testing"
)

// FuzzMend changes one byte, which is put right, unless it looks like the end
// of an unfinished write of what may be one, and two bytes, which is noticed.
func FuzzMend(f *testing.F) {
	f.Add([]byte("From and to, and more of it"), 3, byte(1), []byte(nil))
	f.Add([]byte{1, 2, 0, 0}, 1, byte(2), []byte(nil))
	f.Add([]byte{1, 2, 0, 0}, 1, byte(2), []byte{0, 0})
	f.Add([]byte{1, 2, 0, 0}, 1, byte(2), []byte{0, 3})
	f.Fuzz(func(t *testing.T, p []byte, at int, bits byte, behind []byte) {
		if len(p) == 0 || len(p) > 4096 || bits == 0 {
			return
		}
		at = int(uint(at) % uint(len(p)))
		want := sum(p)
		q := bytes.Clone(p)
		q[at] ^= bits
		b := append(bytes.Clone(q), behind...)
		if !mend(q, want) || !bytes.Equal(p, q) {
			t.Errorf("%x with byte %d changed by %x: mended to %x", p, at, bits, q)
		}
		unfinished := len(bytes.TrimRight(b[at:], "\x00")) == 0
		mended := mendWritten(b, len(p), want)
		if mended == unfinished || mended && !bytes.Equal(p, b[:len(p)]) {
			t.Errorf(
				"%x with byte %d changed by %x before %x: mended %v to %x", p, at, bits, behind,
				mended, b,
			)
		}
	})
}

// TestMendsNoByteOfTwo has two bytes change a checksum in the same way: which
// of them is wrong cannot be told.
func TestMendsNoByteOfTwo(t *testing.T) {
	t.Parallel()
	const apart = 190_235
	p := make([]byte, apart+1)
	want := sum(p)
	q := bytes.Clone(p)
	q[0], q[apart] = 223, 76
	if sum(q) != want {
		t.Fatal("the two changes do not cancel")
	}
	p[0] = 223
	if mend(p, want) || p[0] != 223 || p[apart] != 0 {
		t.Fatalf("mended to %d and %d", p[0], p[apart])
	}
}
