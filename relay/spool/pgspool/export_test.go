package pgspool

import (
	"context"

	"github.com/postern-mail/postern/relay/spool"
)

// AppendStep and ReadStep are the codec of the rows of wake.
func AppendStep(size int64, c *spool.Commit) []byte { return appendStep(nil, size, c) }

func ReadStep(b []byte) ([]spool.Delivery, []spool.Record, int64, error) {
	s, err := readStep(spool.ID{}, b)
	return s.message.deliveries, s.events, s.message.size, err
}

// ServerFault tells what is wrong with a server of a version.
func ServerFault(version int, standby bool) error {
	return session{version: version, standby: standby, isolation: "read committed"}.fault()
}

// Channel is that of the notifications of a schema.
func Channel(schema string) string { return schemaName(schema).channel() }

// These are the codec of envelopes and of the rows of the log.
var (
	AppendMessage    = appendMessage
	ReadMessage      = readMessage
	AppendRecipients = appendRecipients
	ReadRecipients   = readRecipients
	AppendRecord     = appendRecord
	ReadRecords      = readRecords
)

// BeginBehindOthers begins to read a message while all readers are busy with
// others, and has one of them go on when that has ended. There is no server.
func BeginBehindOthers(ctx context.Context) error {
	s := &Store{work: ctx}
	s.openings.readers = openReaders
	err := s.begin(&reader{store: s, ctx: ctx})
	s.readOpenings()
	return err
}

// These are the sizes of rows of content, and SumOf their checksum.
const (
	PageBytes, ShortBytes, ChunkBytes = pageBytes, shortBytes, chunkBytes
)

func SumOf(b []byte) int32 { return sumOf(b) }

// ListText is the statement of List, in the schema "postern".
func ListText(q spool.Query) (text string, args []any) {
	text, args = where(&q)
	return schemaName("postern").in(itemText + text), args
}

// LeaseText leases due rows of keys.
func (s *Store) LeaseText() string { return s.in(leaseText) }

// NextText tells when keys have the next row: of digests, from times on.
func (s *Store) NextText() string { return s.in(nextText) }

// Handed is how many deliveries were leased by their commits and wait, and how
// many have a place in transactions under way.
func (s *Store) Handed() (waiting, booked int) {
	h := &s.handed
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.booked {
		booked += n
	}
	return len(h.list), booked
}
