package pgspool

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// copyRows are rows in the binary format of COPY, which costs the server and us
// less than any other way.
type copyRows struct {
	b []byte
	n int
}

var copyHeader = [19]byte{'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n', 0}

func (r *copyRows) begin(columns int) {
	if r.n == 0 {
		r.b = append(r.b[:0], copyHeader[:]...)
	}
	r.n++
	r.b = binary.BigEndian.AppendUint16(r.b, uint16(columns))
}

func (r *copyRows) bytes(v []byte) {
	r.b = binary.BigEndian.AppendUint32(r.b, uint32(len(v)))
	r.b = append(r.b, v...)
}

func (r *copyRows) text(v string) {
	r.b = binary.BigEndian.AppendUint32(r.b, uint32(len(v)))
	r.b = append(r.b, v...)
}

func (r *copyRows) int32(v int32) {
	r.b = binary.BigEndian.AppendUint32(r.b, 4)
	r.b = binary.BigEndian.AppendUint32(r.b, uint32(v))
}

func (r *copyRows) int64(v int64) {
	r.b = binary.BigEndian.AppendUint32(r.b, 8)
	r.b = binary.BigEndian.AppendUint64(r.b, uint64(v))
}

func (r *copyRows) bool(v bool) {
	r.b = append(r.b, 0, 0, 0, 1, 0)
	if v {
		r.b[len(r.b)-1] = 1
	}
}

// time writes a time; the zero time is null.
func (r *copyRows) time(t time.Time) {
	if t.IsZero() {
		r.b = append(r.b, 0xff, 0xff, 0xff, 0xff)
		return
	}
	r.int64(kept(t).UnixMicro() - epoch)
}

// epoch is that of the server's timestamps, 2000-01-01, in microseconds.
const epoch = 946_684_800_000_000

// send copies the rows into a table.
func (r *copyRows) send(ctx context.Context, c *pgconn.PgConn, into string) error {
	if r.n == 0 {
		return nil
	}
	r.b = append(r.b, 0xff, 0xff)
	_, err := c.CopyFrom(ctx, bytes.NewReader(r.b), "COPY "+into+" FROM STDIN BINARY")
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sumOf(b []byte) int32 { return int32(crc32.Checksum(b, castagnoli)) }
