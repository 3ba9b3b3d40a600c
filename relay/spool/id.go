package spool

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"
)

var errID = errors.New("spool: not an id")

// ID is a message's id: 128 bits, ordered by time of creation, printed as 26
// characters of lower-case base32hex without padding, whose order is the order
// of the bytes.
//
// The first 48 bits are milliseconds since 1970, the rest is random or, in a
// derived id, a digest. The zero ID belongs to no message.
type ID [16]byte

const (
	idStamp = 6  // bytes of the timestamp
	idChars = 26 // characters of the printed form
	digits  = "0123456789abcdefghijklmnopqrstuv"
)

// NewID returns a fresh id for a message created at t.
func NewID(t time.Time) ID {
	var id ID
	id.stamp(t)
	rand.Read(id[idStamp:]) // never fails: crypto/rand ends the process instead
	return id
}

// DeriveID returns the id of the message that purpose calls for on behalf of
// parent, such as the bounce of a delivery. It is the same each time, and sorts
// beside its parent.
func DeriveID(parent ID, purpose string) ID {
	h := sha256.New()
	h.Write(parent[:])
	h.Write([]byte(purpose))
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	id := parent
	copy(id[idStamp:], sum[:])
	return id
}

func (id *ID) stamp(t time.Time) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(t.UnixMilli(), 0)))
	copy(id[:idStamp], b[2:])
}

// Time returns when the message was created, in milliseconds.
func (id ID) Time() time.Time {
	var b [8]byte
	copy(b[2:], id[:idStamp])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:])))
}

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// Compare returns -1, 0 or 1 as id sorts before, with or after other.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// String returns the printed form.
func (id ID) String() string {
	var b [idChars]byte
	return string(id.append(b[:0]))
}

func (id ID) append(b []byte) []byte {
	var acc, bits uint
	for _, c := range id {
		acc, bits = acc<<8|uint(c), bits+8
		for ; bits >= 5; bits -= 5 {
			b = append(b, digits[acc>>(bits-5)&31])
		}
	}
	return append(b, digits[acc<<(5-bits)&31])
}

// ParseID reads the printed form, and only that: each id has one spelling.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != idChars {
		return ID{}, errID
	}
	var acc, bits uint
	n := 0
	for i := range len(s) {
		v := strings.IndexByte(digits, s[i])
		if v < 0 {
			return ID{}, errID
		}
		acc, bits = acc<<5|uint(v), bits+5
		if bits >= 8 {
			bits -= 8
			id[n] = byte(acc >> bits)
			n++
		}
	}
	if acc&(1<<bits-1) != 0 {
		return ID{}, errID
	}
	return id, nil
}

// MarshalText returns the printed form.
func (id ID) MarshalText() ([]byte, error) { return id.append(nil), nil }

// UnmarshalText reads the printed form.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}

// DeliveryID is a message's id and the number of the delivery in it, from 0.
type DeliveryID struct {
	Message ID
	Seq     int
}

// String returns the message's id, a dot and the number.
func (d DeliveryID) String() string {
	b := append(d.Message.append(make([]byte, 0, idChars+4)), '.')
	return string(strconv.AppendInt(b, int64(d.Seq), 10))
}

// ParseDeliveryID reads what DeliveryID.String prints, and only that.
func ParseDeliveryID(s string) (DeliveryID, error) {
	m, n, _ := strings.Cut(s, ".")
	id, err := ParseID(m)
	if err != nil {
		return DeliveryID{}, err
	}
	seq, err := strconv.ParseUint(n, 10, 31)
	if err != nil || strconv.FormatUint(seq, 10) != n {
		return DeliveryID{}, errID
	}
	return DeliveryID{Message: id, Seq: int(seq)}, nil
}

// MarshalText returns the printed form.
func (d DeliveryID) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the printed form.
func (d *DeliveryID) UnmarshalText(b []byte) error {
	v, err := ParseDeliveryID(string(b))
	if err == nil {
		*d = v
	}
	return err
}
