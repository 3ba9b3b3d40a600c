package filespool

import (
	"encoding/binary"
	"math"

	"github.com/postern-mail/postern/relay/spool"
)

// decoder reads a meta part. After a fault bad is set and every value is zero.
type decoder struct {
	b   []byte
	s   string // the same as a string, for those who keep parts of it
	at  int
	bad bool
}

func (d *decoder) take(n uint64) (from, to int) {
	if d.bad || n > uint64(len(d.b)-d.at) {
		d.bad = true
		return 0, 0
	}
	from = d.at
	d.at += int(n)
	return from, d.at
}

func (d *decoder) raw(n uint64) []byte {
	from, to := d.take(n)
	return d.b[from:to]
}

func (d *decoder) uvarint() uint64 {
	if d.bad {
		return 0
	}
	v, n := binary.Uvarint(d.b[d.at:])
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.at += n
	return v
}

// count reads the number of things that take up at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64((len(d.b)-d.at)/size) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) int() int {
	n := d.uvarint()
	if n > math.MaxInt32 {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) byte() byte {
	if b := d.raw(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.raw(4); len(b) == 4 {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) time() int64 {
	if b := d.raw(8); len(b) == 8 {
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) id() (id spool.ID) {
	copy(id[:], d.raw(uint64(len(id))))
	return id
}

func (d *decoder) bytes() []byte { return d.raw(d.uvarint()) }

func (d *decoder) string() string {
	from, to := d.take(d.uvarint())
	return d.s[from:to]
}
