package pgspool_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

var fullCommit = spool.Commit{
	Deliveries: []spool.Delivery{{
		Key: spool.Key{Route: "r\x00\xff", Domain: "d", Stream: "s"},
		Due: time.UnixMicro(1_700_000_000_123_456), Expires: time.Unix(9_000_000_000, 0),
		Attempts: 3, Held: true, Crashes: 5,
		Recipients: []spool.Recipient{
			{Address: "a@b", Notify: spool.NotifyNever}, {Address: "c@d"},
		},
	}, {
		Recipients: []spool.Recipient{{Address: "e@f"}},
	}},
	Events: []spool.Record{{Time: time.Unix(1, 2), Data: []byte("x")}, {Data: []byte{}}},
}

func TestStepKeepsAll(t *testing.T) {
	deliveries, events, size, err := pgspool.ReadStep(pgspool.AppendStep(77, &fullCommit))
	if err != nil || size != 77 || !reflect.DeepEqual(deliveries, fullCommit.Deliveries) ||
		!reflect.DeepEqual(events, fullCommit.Events) {
		t.Fatalf("%+v %+v %d %v", deliveries, events, size, err)
	}
}

// A step that is cut off anywhere has all of its deliveries or one without
// recipients that tells of the damage, and the damage is seen in any case.
func TestStepThatIsCutOff(t *testing.T) {
	whole := pgspool.AppendStep(77, &fullCommit)
	for n := range whole {
		deliveries, _, _, err := pgspool.ReadStep(whole[:n])
		if err == nil {
			t.Fatalf("cut at %d: no damage is seen", n)
		}
		last := len(deliveries) - 1
		if last < 0 || last == 0 && len(deliveries[0].Recipients) > 0 {
			t.Fatalf("cut at %d: %+v", n, deliveries)
		}
	}
}

// A step keeps times that no count of microseconds or nanoseconds has as the
// nearest ones.
func TestStepKeepsFarTimes(t *testing.T) {
	for year, want := range map[int]int{-1 << 20: 1678, 1677: 1678, 2300: 2262, 1 << 20: 2262} {
		far := time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
		d := spool.Delivery{Due: far, Expires: far, Recipients: []spool.Recipient{{}}}
		got, _, _, err := pgspool.ReadStep(
			pgspool.AppendStep(1, &spool.Commit{Deliveries: []spool.Delivery{d}}),
		)
		if err != nil || got[0].Due.UTC().Year() != want || !got[0].Expires.Equal(got[0].Due) {
			t.Errorf("the year %d has become %v, %v", year, got[0].Due, err)
		}
	}
}

func FuzzReadStep(f *testing.F) {
	f.Add(pgspool.AppendStep(77, &fullCommit))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		deliveries, events, size, err := pgspool.ReadStep(b)
		if len(deliveries) == 0 || size < 0 {
			t.Fatalf("%d deliveries, size %d", len(deliveries), size)
		}
		for i := range deliveries {
			if err == nil && len(deliveries[i].Recipients) == 0 {
				t.Fatal("a delivery without recipients, and no error")
			}
		}
		for i := range events {
			if len(events[i].Data) > spool.MaxRecord {
				t.Fatal("a record that is too long")
			}
		}
		if err == nil {
			keptAgain(t, deliveries, events, size)
		}
	})
}

// keptAgain writes what was read and reads it once more.
func keptAgain(t *testing.T, deliveries []spool.Delivery, events []spool.Record, size int64) {
	t.Helper()
	for i := range deliveries {
		for j := range deliveries[i].Recipients { // it is kept so far
			r := &deliveries[i].Recipients[j]
			r.Diagnostic = r.Diagnostic[:min(len(r.Diagnostic), 512)]
		}
	}
	c := &spool.Commit{Deliveries: deliveries, Events: events}
	ds, es, n, err := pgspool.ReadStep(pgspool.AppendStep(size, c))
	if err != nil || n != size || !reflect.DeepEqual(ds, deliveries) ||
		!slices.EqualFunc(es, events, sameRecord) {
		t.Errorf("%+v %+v became %+v %+v, %v", deliveries, events, ds, es, err)
	}
}
