package pgspool

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

const (
	oldestServer = 14_00_00 // server_version_num
	// listening is the least number of connections of a pool that can spare one
	// to wait for notifications.
	listening = 4
	longest   = 63 // bytes of a name
)

// session is what the store goes by of the server and of the pool's sessions.
type session struct {
	version   int // server_version_num
	readOnly  bool
	standby   bool
	isolation string
}

// lookAtSession asks the server.
func (s *Store) lookAtSession(ctx context.Context) error {
	var c session
	err := s.row(ctx, s.pool, `SELECT current_setting('server_version_num')::int,
		current_setting('transaction_read_only') = 'on', pg_is_in_recovery(),
		current_setting('transaction_isolation')`).Scan(
		&c.version, &c.readOnly, &c.standby, &c.isolation)
	if err != nil {
		return failure(err)
	}
	return c.fault()
}

// fault tells why the store cannot work there.
func (c session) fault() error {
	switch {
	case c.version < oldestServer:
		return fmt.Errorf("pgspool: the server is PostgreSQL %d, and 14 is the oldest that will do",
			c.version/10000)
	case c.standby:
		return errors.New("pgspool: the server is a standby and takes no writes: connect to the " +
			"primary (with several hosts in the URL, target_session_attrs=read-write finds it)")
	case c.readOnly:
		return errors.New("pgspool: the sessions of the pool take no writes: " +
			"default_transaction_read_only must be off for its role and database")
	case c.isolation != "read committed":
		return fmt.Errorf("pgspool: the pool has default_transaction_isolation = %s, and needs "+
			"read committed", c.isolation)
	}
	return nil
}

// fault tells what no schema can be called.
func (n schemaName) fault() error {
	if len(n) > longest || strings.ContainsRune(string(n), 0) {
		return fmt.Errorf("pgspool: schema %q: a name has at most %d bytes, none of them NUL",
			string(n), longest)
	}
	return nil
}

// advised adds to an error of a migration what to do about it.
func advised(err error) error {
	switch {
	case hasCode(err, forbidden):
		return fmt.Errorf("%w: the role needs CREATE on the database or a schema of its own; or "+
			"have its owner run the migrations, and set NoMigrate", err)
	case hasCode(err, duplicateTable, "42703", "42723", "42883"): // column, function
		return fmt.Errorf("%w: the schema is somebody else's; name another one in Options.Schema",
			err)
	}
	return err
}

// warnOfRights tells what the role of somebody else's schema lacks: a program
// that only enqueues may do with less.
func (s *Store) warnOfRights(ctx context.Context) error {
	var lacks []string
	err := s.row(ctx, s.pool, `
SELECT coalesce(array_agg(r || ' on ' || c.relname ORDER BY c.relname, r), '{}') FROM pg_class c
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) r
WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND NOT (c.relname IN ('version', 'goose_db_version'))
AND NOT has_table_privilege(c.oid, r)`, s.quoted()).Scan(&lacks)
	if err != nil {
		return failure(err)
	}
	if len(lacks) > 0 {
		s.log.Warn("the role lacks rights that a relay needs", "schema", string(s.schemaName),
			"rights", strings.Join(lacks, ", "))
	}
	return nil
}
