package pgspool_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// odd is text that no encoding of a database would take.
const odd = "a\x00b\xff\xfe\x80 'ä\\\"\r\n;--"

// TestOddOctets has every text of a message come back as it was.
func TestOddOctets(t *testing.T) {
	s := open(t, server.Database(t))
	key := spool.Key{Route: odd, Domain: odd + "d", Stream: odd + "s"}
	recipients := []spool.Recipient{{
		Address: odd, Original: odd, Status: odd, Diagnostic: odd, Host: odd,
		Notify: spool.NotifyNever, Delayed: true,
	}}
	want := spool.Message{
		ID: spool.NewID(time.Now()), From: odd, EnvelopeID: odd, Return: odd, Body: odd, UTF8: true,
		Origin: spool.Origin{Connector: odd, Remote: odd, User: odd}, Stream: odd,
		Labels: map[string]string{odd: odd, "": odd, odd + "2": ""}, Signatures: 3,
	}
	for i := range 1000 {
		want.Labels[strings.Repeat(odd, i%20)+string(rune('a'+i))] = odd
	}
	for range 9999 {
		recipients = append(recipients, spool.Recipient{Address: odd})
	}
	w, err := s.Create(t.Context(), want.ID)
	if err == nil {
		_, err = w.Write([]byte(odd))
	}
	if err == nil {
		err = w.Commit(t.Context(), spool.Commit{Message: want, Deliveries: []spool.Delivery{
			{Key: key, Recipients: recipients},
		}})
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Lease(t.Context(), spool.LeaseRequest{
		Max: 1, TTL: time.Minute, Only: []spool.Key{key},
	})
	if err != nil || len(got.Leases) != 1 {
		t.Fatalf("leased %d, %v", len(got.Leases), err)
	}
	l := got.Leases[0]
	want.Size = int64(len(odd))
	if !reflect.DeepEqual(l.Message, want) {
		t.Errorf("the message is %+v", l.Message)
	}
	if l.Delivery.Key != key || !slices.Equal(l.Delivery.Recipients, recipients) {
		t.Errorf("the delivery is another one: %+v", l.Delivery.Key)
	}
	done := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	if err := s.Settle(t.Context(), done); err != nil {
		t.Error(err)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(pgspool.AppendMessage(nil, &spool.Message{
		Created: time.Unix(1, 2), From: odd, Labels: map[string]string{"k": "v"},
		ReportOf: spool.NewID(time.Now()), Signatures: 1, UTF8: true,
	}))
	f.Add([]byte("\x61\x00\x00\x00\x00\x00\x00\x00\x80")) // not before 1677
	f.Add([]byte("\x09\xff\xff\xff\xff\xff\xff\xff\x7f")) // created in 2262
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := pgspool.ReadMessage(b)
		if err != nil {
			return
		}
		again, err := pgspool.ReadMessage(pgspool.AppendMessage(nil, &m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzRecipients(f *testing.F) {
	f.Add(pgspool.AppendRecipients(nil, []spool.Recipient{
		{Address: odd, Notify: spool.NotifyDelay, Delayed: true}, {Diagnostic: odd, Host: "h"},
	}, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, crashes, err := pgspool.ReadRecipients(b)
		if err != nil {
			return
		}
		for i := range list { // it is kept so far
			list[i].Diagnostic = list[i].Diagnostic[:min(len(list[i].Diagnostic), 512)]
		}
		again, n, err := pgspool.ReadRecipients(pgspool.AppendRecipients(nil, list, crashes))
		if err != nil || !slices.Equal(again, list) || n != crashes {
			t.Errorf("%+v became %+v, %v", list, again, err)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add(pgspool.AppendRecord(nil, &spool.Record{Time: time.Unix(3, 4), Data: []byte(odd)}))
	f.Add([]byte("\x0a\x09\x09\x00\x00\x00\x00\x00\x00\x00\x80")) // of 1677
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := pgspool.ReadRecords(b)
		if err != nil {
			return
		}
		var again []byte
		for i := range list {
			again = pgspool.AppendRecord(again, &list[i])
		}
		got, err := pgspool.ReadRecords(again)
		if err != nil || !slices.EqualFunc(got, list, sameRecord) {
			t.Errorf("%+v became %+v, %v", list, got, err)
		}
	})
}

func sameRecord(a, b spool.Record) bool {
	return a.Time.Equal(b.Time) && bytes.Equal(a.Data, b.Data)
}
