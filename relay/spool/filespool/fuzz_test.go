package filespool_test

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// A record of an earlier version, without what was added at its end, is whole.
func TestEarlierRecords(t *testing.T) {
	m := spool.Message{ID: spool.DeriveID(spool.ID{}, "x"), From: "a@b", Signatures: 3}
	meta := filespool.EncodeCommit(&m, deliveries("route", time.Unix(1, 0)), nil)
	if got, ok := filespool.DecodeCommit(meta); !ok || got.From != "a@b" || got.Signatures != 3 {
		t.Errorf("%+v, %v", got, ok)
	}
	got, ok := filespool.DecodeCommit(meta[:len(meta)-1])
	if !ok || got.From != "a@b" || got.Signatures != 0 {
		t.Errorf("earlier: %+v, %v", got, ok)
	}
	if _, ok := filespool.DecodeCommit(meta[:len(meta)-2]); ok {
		t.Error("a record cut short is whole")
	}
}

func FuzzDecode(f *testing.F) {
	id := spool.DeriveID(spool.ID{}, "x")
	ds := deliveries("route", time.Unix(1, 0))
	f.Add([]byte{})
	f.Add(
		filespool.EncodeCommit(
			&spool.Message{ID: id, From: "a@b", Labels: map[string]string{"k": "v"}}, ds, nil,
		),
	)
	f.Add(filespool.EncodeCommit(&spool.Message{NotBefore: time.Unix(0, -1<<63+5)}, ds, nil))
	f.Add(filespool.EncodeCommit(&spool.Message{ID: id}, ds, []spool.Settlement{
		{
			ID: spool.DeliveryID{Message: id}, Remaining: ds[0].Recipients,
			Key: &spool.Key{Route: "other"},
		},
		{ID: spool.DeliveryID{Message: id, Seq: 7}},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		filespool.Decode(b)
		m, ok := filespool.DecodeCommit(b)
		if !ok {
			return
		}
		again, ok := filespool.DecodeCommit(filespool.EncodeCommit(&m, nil, nil))
		if !ok || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v became %+v, %v", m, again, ok)
		}
	})
}

// FuzzOpen opens a log of arbitrary bytes, of which some places are made to
// look like records. Whatever is found, the store works.
func FuzzOpen(f *testing.F) {
	id := spool.DeriveID(spool.ID{}, "x")
	meta := filespool.EncodeCommit(
		&spool.Message{ID: id, From: "a@b"}, deliveries("route", time.Unix(1, 0)), nil,
	)
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Add(append(make([]byte, filespool.HeaderSize), meta...), uint16(0), uint16(25))
	f.Add(make([]byte, 1000), uint16(10), uint16(20))
	f.Fuzz(func(t *testing.T, b []byte, first, second uint16) {
		for _, header := range []bool{true, false} {
			log, mark := filespool.SegmentFile(1)
			if !header {
				clear(log)
			}
			log = append(log, b...)
			for i, at := range []uint16{first, second} {
				filespool.Seal(log, filespool.SegmentHeader+8*int(at), mark, 1, uint64(i+1))
			}
			disk := filespool.NewDisk(1)
			dir := t.TempDir()
			disk.Put(filepath.Join(dir, firstSegment), log)
			o := &filespool.Options{Logger: filespool.Quiet(), MinFree: -1, SegmentBytes: 16 << 10}
			for range 2 {
				s, err := filespool.OpenFS(dir, o, disk)
				if err != nil {
					t.Fatal(err)
				}
				l, err := s.Lease(
					t.Context(), spool.LeaseRequest{Max: 10, TTL: time.Minute},
				)
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range l.Leases {
					if r, err := s.Open(t.Context(), l.Message.ID); err == nil {
						r.Close()
					}
					if err := s.Settle(
						t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
					); err != nil {
						t.Fatal(err)
					}
				}
				put(t, s, spool.NewID(time.Now()), b, deliveries("a", time.Now()))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
