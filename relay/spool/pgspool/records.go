package pgspool

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	recordTime protowire.Number = iota + 1
	recordData
)

// maxBlob bounds the records that one row of the log holds, in bytes: a reader
// takes whole rows. A longer one has a row of its own.
const maxBlob = 256 << 10

// blob is what one row of the log holds.
type blob struct {
	n     int
	until time.Time
	data  []byte
}

// blobs gathers records into rows.
type blobs []blob

func (b *blobs) add(list []spool.Record) {
	for i := range list {
		r := &list[i]
		n := len(*b)
		if n == 0 || len((*b)[n-1].data)+len(r.Data) > maxBlob {
			*b = append(*b, blob{until: kept(r.Time)})
			n++
		}
		last := &(*b)[n-1]
		last.n++
		if t := kept(r.Time); t.After(last.until) {
			last.until = t
		}
		last.data = appendRecord(last.data, r)
	}
}

func appendRecord(b []byte, r *spool.Record) []byte {
	var one fields
	one.time(recordTime, r.Time)
	one.bytes(recordData, r.Data)
	f := fields(b)
	f.bytes(1, one)
	return f
}

// readRecords decodes the records of a row. Those that cannot be read are nil.
func readRecords(b []byte) (list []spool.Record, err error) {
	err = readFields(b, func(f field) {
		var r spool.Record
		if readFields(f.data, func(f field) {
			switch f.number {
			case recordTime:
				r.Time = f.time()
			case recordData:
				r.Data = append([]byte{}, f.data...)
			}
		}) != nil {
			r = spool.Record{}
		}
		list = append(list, r)
	})
	return list, err
}

// checkRecords refuses records that are too long.
func checkRecords(lists ...[]spool.Record) error {
	for _, list := range lists {
		for i := range list {
			if len(list[i].Data) > spool.MaxRecord {
				return spool.ErrRecordSize
			}
		}
	}
	return nil
}
