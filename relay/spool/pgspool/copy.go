package pgspool

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"hash/crc32"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
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

// table is one that rows are copied into, with its columns.
type table struct {
	name string
	rows *copyRows
}

// query is the statement that copies into the table.
func (t *table) query() string { return "COPY " + t.name + " FROM STDIN BINARY" }

// copyAll copies rows into tables, in one round trip where the pool's mode is
// one that can.
func (t *transaction) copyAll(ctx context.Context, all ...table) error {
	all = slices.DeleteFunc(all, func(v table) bool { return v.rows.n == 0 })
	for _, v := range all {
		v.rows.b = append(v.rows.b, 0xff, 0xff)
	}
	c := t.conn.Conn().PgConn()
	if t.batches {
		return copyTogether(ctx, c, all)
	}
	for _, v := range all {
		if _, err := c.CopyFrom(ctx, bytes.NewReader(v.rows.b), v.query()); err != nil {
			return err
		}
	}
	return nil
}

// copyPiece is how much of the rows one message of the protocol has: the server
// keeps each whole.
const copyPiece = 256 << 10

// copyTogether sends all before it reads an answer: the server passes over the
// rows of a COPY that it refuses.
func copyTogether(ctx context.Context, c *pgconn.PgConn, all []table) error {
	var out net.Buffers
	for _, v := range all {
		b, err := (&pgproto3.Query{String: v.query()}).Encode(nil)
		if err != nil {
			return err
		}
		out = append(out, b)
		for piece := range slices.Chunk(v.rows.b, copyPiece) { // CopyData
			head := binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+len(piece)))
			out = append(out, head, piece)
		}
		out = append(out, []byte{'c', 0, 0, 0, 4}) // CopyDone
	}
	err := writeTo(ctx, c.Conn(), out)
	var refused error
	for n := 0; n < len(all) && err == nil; {
		var m pgproto3.BackendMessage
		switch m, err = c.ReceiveMessage(ctx); m := m.(type) {
		case *pgproto3.ErrorResponse:
			refused = cmp.Or(refused, error(pgconn.ErrorResponseToPgError(m)))
		case *pgproto3.ReadyForQuery:
			n++
		}
	}
	if err != nil { // answers are still to come
		c.Close(ctx)
	}
	return cmp.Or(refused, err)
}

// writeTo writes until the context is done.
func writeTo(ctx context.Context, c net.Conn, out net.Buffers) error {
	stop := context.AfterFunc(ctx, func() { c.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := out.WriteTo(c)
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sumOf(b []byte) int32 { return int32(crc32.Checksum(b, castagnoli)) }
