package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// TestQueueInPostgreSQL runs two gateways on one database: what the first takes
// and cannot deliver is in the queue for the second.
func TestQueueInPostgreSQL(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	database := pgspooltest.Start(t, nil).Database(t)
	sink := mailtest.NewSink(t)
	config := strings.Replace(base, `spool = "spool"`, `spool = "`+database+`"`, 1)
	first := startAt(t, site(t, strings.ReplaceAll(config, "SINK", "127.0.0.1:1")))
	if err := mailtest.Send(
		first.dial("127.0.0.1", "apps"), "app@example.test", "a@example.net", "one",
	); err != nil {
		t.Fatal(err)
	}
	first.event("deferred", "a@example.net")
	second := startAt(t, site(t, strings.ReplaceAll(config, "SINK", sink.Addr)))
	first.stop()
	if err := mailtest.Send(
		second.dial("127.0.0.1", "apps"), "app@example.test", "b@example.net", "two",
	); err != nil {
		t.Fatal(err)
	}
	if m := sink.Next(t); m.To[0] != "b@example.net" {
		t.Errorf("arrived %+v", m)
	}
	second.event("delivered", "b@example.net")
	// The mail that was put off moves to a directory, when nobody may send it.
	dir := filepath.Join(t.TempDir(), "spool")
	var out bytes.Buffer
	if code := run([]string{"-move-spool", database, dir}, nil, &out, &out); code != 1 ||
		!strings.Contains(out.String(), "a relay runs on the source") {
		t.Errorf("exit %d: %s", code, &out)
	}
	second.stop()
	if code := run([]string{"-move-spool", database, dir}, nil, &out, &out); code != 0 ||
		!strings.Contains(out.String(), "moved 1 messages, 1 deliveries") {
		t.Errorf("exit %d: %s", code, &out)
	}
}

// TestMoveSpoolToPostgreSQL moves a queue into a database and back, killed
// again and again: nothing is lost, and nothing is there twice.
func TestMoveSpoolToPostgreSQL(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	const messages = 1000
	database := pgspooltest.Start(t, nil).Database(t)
	dir := filepath.Join(t.TempDir(), "spool")
	queueAt(t, dir, messages)
	moveKilled(t, dir, database)
	wantQueue(t, dir, 0)
	wantQueue(t, database, messages)
	var out bytes.Buffer
	if code := run([]string{"-move-spool", database, dir}, nil, &out, &out); code != 0 ||
		!strings.Contains(out.String(), "moved 1000 messages") {
		t.Errorf("exit %d: %s", code, &out)
	}
	wantQueue(t, database, 0)
	wantQueue(t, dir, messages)
}
