package pgspool_test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// oddRole is what a role's sessions may have that others do not.
var oddRole = map[string]string{
	"DateStyle": "'German, DMY'", "IntervalStyle": "'sql_standard'",
	"TimeZone": "'Asia/Kathmandu'", "standard_conforming_strings": "off",
	"backslash_quote": "off", "escape_string_warning": "on", "bytea_output": "'escape'",
	"search_path": `'"no such schema"'`, "row_security": "off", "default_tablespace": "pg_default",
	"extra_float_digits": "0", "client_min_messages": "debug1", "quote_all_identifiers": "on",
	"transform_null_equals": "on", "array_nulls": "off", "xmloption": "document",
	"default_transaction_deferrable": "on", "synchronous_commit": "off",
	"plan_cache_mode": "force_custom_plan", "enable_indexscan": "off",
}

// TestOddDatabases sends a message through databases of encodings that no UTF-8
// fits, for roles with odd settings.
func TestOddDatabases(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"UTF8", "SQL_ASCII", "LATIN1", "EUC_JP"} {
		for _, settings := range []map[string]string{nil, oddRole} {
			t.Run(fmt.Sprint(encoding, " ", len(settings)), func(t *testing.T) {
				t.Parallel()
				wholeWay(t, open(t, encodedDatabase(t, encoding, settings)))
			})
		}
	}
}

// TestOddClients sends it for clients with odd settings of their own.
func TestOddClients(t *testing.T) {
	t.Parallel()
	for _, params := range []string{
		"client_encoding=LATIN1", "client_encoding=SQL_ASCII",
		"default_query_exec_mode=simple_protocol&bytea_output=escape",
		"default_query_exec_mode=exec&client_encoding=LATIN1",
		"default_query_exec_mode=describe_exec&bytea_output=escape",
	} {
		t.Run(params, func(t *testing.T) {
			t.Parallel()
			wholeWay(t, open(t, server.Database(t)+"&"+params))
		})
	}
}

// encodedDatabase makes a database of an encoding whose owner has settings.
func encodedDatabase(t *testing.T, encoding string, settings map[string]string) string {
	t.Helper()
	u, err := url.Parse(server.Database(t))
	ok(t, err)
	name, role := strings.ToLower(u.User.Username()+encoding), u.User.Username()
	for k, v := range settings {
		server.Exec(t, fmt.Sprintf("ALTER ROLE %s SET %s = %s", role, k, v))
	}
	server.Exec(t, fmt.Sprintf("CREATE DATABASE %s OWNER %s TEMPLATE template0 "+
		"ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C'", name, role, encoding))
	t.Cleanup(func() {
		c, err := pgx.Connect(context.Background(), server.URL())
		if err == nil {
			_, err = c.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
			c.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	u.Path = "/" + name
	return u.String()
}

// wholeWay commits a message of odd octets, puts it off, moves it, settles it,
// and reads what the log has of it.
func wholeWay(t *testing.T, s *pgspool.Store) {
	t.Helper()
	ctx, content := t.Context(), []byte(strings.Repeat(odd, 60_000))
	id, keys := spool.NewID(time.Now()), []spool.Key{
		{Route: odd, Domain: "bücher.example", Stream: odd}, {Route: "b" + odd},
	}
	w, err := s.Create(ctx, id)
	ok(t, err)
	_, err = w.Write(content)
	ok(t, err)
	ok(t, w.Commit(ctx, spool.Commit{
		Message: spool.Message{From: odd, Labels: map[string]string{odd: odd}},
		Prepend: []byte(odd), Claim: &spool.Claim{Scope: odd, Key: odd, TTL: time.Hour},
		Deliveries: []spool.Delivery{{Key: keys[0], Recipients: []spool.Recipient{{Address: odd}}}},
		Events:     []spool.Record{record(odd + "1")},
	}))
	if got, _, used, err := s.Claimed(ctx, odd, odd); got != id || !used || err != nil {
		t.Errorf("the key is of %v, %v, %v", got, used, err)
	}
	r, err := s.Open(ctx, id)
	ok(t, err)
	var read bytes.Buffer
	_, err = read.ReadFrom(r)
	if err != nil || read.String() != odd+string(content) {
		t.Errorf("the content is another one, %v", err)
	}
	for i, key := range keys {
		l := oneOfKey(t, s, key)
		done := spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token, Events: []spool.Record{record(odd + "2")},
		}
		if i == 0 {
			done.Key, done.Remaining = &keys[1], []spool.Recipient{{Address: odd, Diagnostic: odd}}
		}
		ok(t, s.Settle(ctx, done))
	}
	f := follower{Store: s}
	f.follow(t, 3)
	if want := []string{odd + "1", odd + "2", odd + "2"}; !slices.Equal(f.seen, want) {
		t.Errorf("the log is %q", f.seen)
	}
	ok(t, s.Advance(ctx, "käse", 2))
	if at, err := s.Cursor(ctx, "käse"); at != 2 || err != nil {
		t.Error(at, err)
	}
	beside(t, s)
}

// beside uses what else a store keeps.
func beside(t *testing.T, s *pgspool.Store) {
	t.Helper()
	ctx := t.Context()
	ok(t, s.Put(ctx, odd, []byte(odd), time.Hour))
	if v, err := s.Get(ctx, odd); string(v) != odd || err != nil {
		t.Errorf("the value is %q, %v", v, err)
	}
	if n, err := s.Add(ctx, odd, 3, time.Hour); n != 3 || err != nil {
		t.Error(n, err)
	}
	if _, live, err := s.Beat(ctx, "g", "käse", time.Minute); live != 1 || err != nil {
		t.Error(live, err)
	}
	ok(t, s.Truncate(ctx, time.Now().Add(time.Hour)))
	roundTrip(t, s)
	if st, err := s.Stats(ctx); err != nil || st != (spool.Stats{}) {
		t.Errorf("the totals are %+v, %v", st, err)
	}
}

func oneOfKey(t testing.TB, s *pgspool.Store, key spool.Key) spool.Lease {
	t.Helper()
	for end := time.Now().Add(lag); ; time.Sleep(10 * time.Millisecond) {
		got, err := s.Lease(t.Context(), spool.LeaseRequest{
			Max: 9, TTL: time.Minute, Only: []spool.Key{key},
		})
		if err == nil && len(got.Leases) == 0 && time.Now().Before(end) {
			continue // a node may be late to see what is due
		}
		if err != nil || len(got.Leases) != 1 || got.Leases[0].Delivery.Key != key {
			t.Fatalf("leased %+v, %v", got, err)
		}
		return got.Leases[0]
	}
}
