package pgspool_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

var fullCommit = spool.Commit{
	Deliveries: []spool.Delivery{{
		Key: spool.Key{Route: "r\x00\xff", Domain: "d", Stream: "s"},
		Due: time.UnixMicro(1_700_000_000_123_456), Expires: time.Unix(40_000_000_000, 0),
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
	})
}
