package spool_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func TestID(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	id := spool.NewID(at)
	if id == spool.NewID(at) || id.IsZero() || !(spool.ID{}).IsZero() {
		t.Fatal("ids are not fresh")
	}
	if want := at.Truncate(time.Millisecond); !id.Time().Equal(want) {
		t.Fatalf("time is %v, want %v", id.Time(), want)
	}
	if s := id.String(); len(s) != 26 || s != strings.ToLower(s) {
		t.Fatalf("printed %q", s)
	}
	if got := spool.NewID(time.Unix(-5, 0)).Time(); !got.Equal(time.Unix(0, 0)) {
		t.Fatalf("before 1970 the time is %v", got)
	}
}

func TestIDOrder(t *testing.T) {
	t.Parallel()
	var ids []spool.ID
	for i := range 200 {
		ids = append(ids, spool.NewID(time.UnixMilli(int64(i/2)*12345)))
	}
	ids = append(ids, spool.ID{}, spool.ID(bytes.Repeat([]byte{0xff}, 16)))
	slices.SortFunc(ids, spool.ID.Compare)
	if !slices.IsSortedFunc(ids, func(a, b spool.ID) int {
		return strings.Compare(a.String(), b.String())
	}) {
		t.Fatal("printed ids sort differently")
	}
	if !slices.IsSortedFunc(ids, func(a, b spool.ID) int { return a.Time().Compare(b.Time()) }) {
		t.Fatal("ids do not sort by time")
	}
}

func TestDeriveID(t *testing.T) {
	t.Parallel()
	parent := spool.NewID(time.Now())
	id := spool.DeriveID(parent, "bounce/0")
	if id != spool.DeriveID(parent, "bounce/0") {
		t.Fatal("a derived id changes")
	}
	if id == parent || id == spool.DeriveID(parent, "bounce/1") ||
		id == spool.DeriveID(id, "bounce/0") {
		t.Fatal("derived ids are alike")
	}
	if !id.Time().Equal(parent.Time()) {
		t.Fatalf("time is %v, want the parent's %v", id.Time(), parent.Time())
	}
}

func TestParseIDRefuses(t *testing.T) {
	t.Parallel()
	good := spool.NewID(time.Now()).String()
	for _, s := range []string{
		"", good[1:], good + "0", strings.ToUpper(good[:25]) + "W", good[:25] + "w",
		good[:25] + "1", "-" + good[1:], good[:25] + "\xff",
	} {
		if _, err := spool.ParseID(s); err == nil {
			t.Errorf("%q was taken for an id", s)
		}
	}
	d := spool.DeliveryID{Message: spool.NewID(time.Now()), Seq: 3}.String()
	for _, s := range []string{
		"", good, good + ".", good + ".-1", good + ".+1", good + ".01", good + ".1.2",
		good + ".99999999999", d[:26] + "x3",
	} {
		if _, err := spool.ParseDeliveryID(s); err == nil {
			t.Errorf("%q was taken for the id of a delivery", s)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	type all struct {
		ID       spool.ID
		Delivery spool.DeliveryID
		Notify   spool.Notify
	}
	id := spool.NewID(time.Now())
	want := all{id, spool.DeliveryID{Message: id, Seq: 12}, spool.NotifySuccess | spool.NotifyDelay}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got all
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Fatalf("%s became %+v, %v", b, got, err)
	}
	for _, s := range []string{`{"ID":"x"}`, `{"Delivery":"x"}`, `{"Notify":"x"}`} {
		if err := json.Unmarshal([]byte(s), &got); err == nil || got != want {
			t.Errorf("%s was taken: %+v", s, got)
		}
	}
}

func TestNotify(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]spool.Notify{
		"":                      0,
		"NEVER":                 spool.NotifyNever,
		"SUCCESS":               spool.NotifySuccess,
		"SUCCESS,FAILURE,DELAY": spool.NotifySuccess | spool.NotifyFailure | spool.NotifyDelay,
	} {
		got, err := spool.ParseNotify(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("%q became %v, %v", s, got, err)
		}
	}
	if got, err := spool.ParseNotify("delay,Success"); err != nil ||
		got != spool.NotifySuccess|spool.NotifyDelay {
		t.Errorf("lower case became %v, %v", got, err)
	}
	for _, s := range []string{"NEVER,SUCCESS", "ALWAYS", ",", "SUCCESS,", " SUCCESS"} {
		if _, err := spool.ParseNotify(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(spool.ID{}.String())
	f.Add("06eaih8a013die9p8nbfnq4dso.12")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := spool.ParseID(s); err == nil && id.String() != s {
			t.Errorf("%q became %q", s, id)
		}
		if id, err := spool.ParseDeliveryID(s); err == nil && id.String() != s {
			t.Errorf("%q became %q", s, id)
		}
	})
}

func FuzzParseNotify(f *testing.F) {
	f.Add("SUCCESS,FAILURE")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := spool.ParseNotify(s)
		if err != nil {
			return
		}
		if again, err := spool.ParseNotify(n.String()); err != nil || again != n {
			t.Errorf("%q became %v became %v, %v", s, n, again, err)
		}
	})
}

func BenchmarkID(b *testing.B) {
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		_ = spool.NewID(now).String()
	}
}

func ExampleID() {
	id := spool.NewID(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	fmt.Println(len(id.String()), id.Time().UTC())
	again, err := spool.ParseID(id.String())
	fmt.Println(again == id, err)
	// Output:
	// 26 2026-03-01 12:00:00 +0000 UTC
	// true <nil>
}

func ExampleDeriveID() {
	message := spool.NewID(time.Now())
	bounce := spool.DeriveID(message, "bounce")
	fmt.Println(bounce == spool.DeriveID(message, "bounce"), bounce == message)
	// Output: true false
}

func ExampleParseDeliveryID() {
	d, err := spool.ParseDeliveryID("06eaih8a013die9p8nbfnq4dso.1")
	fmt.Println(d.Message, d.Seq, err)
	// Output: 06eaih8a013die9p8nbfnq4dso 1 <nil>
}

func ExampleNotify() {
	n, err := spool.ParseNotify("success,delay")
	fmt.Println(n, n&spool.NotifyFailure != 0, err)
	// Output: SUCCESS,DELAY false <nil>
}
