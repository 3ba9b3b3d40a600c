package pgspool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
)

// Store keeps a queue in a schema of a database. All its methods may be called
// at once, and any number of stores, in one process or in many, may share a
// schema.
type Store struct {
	schemaName
	pool *pgxpool.Pool
	mode pgx.QueryExecMode // of all statements
	poll bool              // rather than LISTEN
	log  *slog.Logger
	node spool.ID // of this store, random

	batches bool // the pool's mode can send statements together

	steps    steps
	openings openings
	barriers atomic.Uint32
	recent   recent
	buffers  sync.Pool // *[]byte, of writers
	ready    *ready
	handed   handed
	watch    watcher
	teller   teller
	waker    *waker

	sequencer *sequencer
	janitor   janitor

	ctx    context.Context // ends with the store
	cancel context.CancelFunc
	work   context.Context // of the committers: ends a while later
	giveUp context.CancelFunc
	tasks  sync.WaitGroup
}

// Open opens the queue in a schema of the database that a pool connects to, and
// makes or renews the schema unless [Options].NoMigrate is set; o may be nil.
// The pool stays the caller's, who closes it after the store. It returns an
// error if the server cannot be reached or is too old, takes no writes, has a
// schema of a later program, or gives the role no right to it.
func Open(ctx context.Context, pool *pgxpool.Pool, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	if ctx == nil || pool == nil {
		return nil, errors.New("pgspool: Open needs a context and a pool")
	}
	s := &Store{
		schemaName: schemaName(o.schema()), pool: pool, log: o.logger(), ready: newReady(),
		watch: newWatcher(), sequencer: newSequencer(), waker: newWaker(),
		mode: pool.Config().ConnConfig.DefaultQueryExecMode, recent: recent{most: o.recentBytes()},
	}
	if s.batches = s.mode == pgx.QueryExecModeCacheStatement; !s.batches {
		s.mode, s.poll = pgx.QueryExecModeCacheDescribe, true
	}
	s.poll = s.poll || o.PollOnly || pool.Config().MaxConns < listening
	rand.Read(s.node[:])
	if err := s.prepare(ctx, o.NoMigrate); err != nil {
		return nil, err
	}
	if err := s.makeDays(ctx); err != nil {
		s.log.Warn("the log has no partition of its own for today", "err", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work, s.giveUp = context.WithCancel(context.Background())
	s.startCommitters()
	return s, nil
}

// prepare looks at the server, and makes or checks the schema.
func (s *Store) prepare(ctx context.Context, noMigrate bool) error {
	if err := s.fault(); err != nil {
		return err
	}
	err := s.lookAtSession(ctx)
	if err == nil && !noMigrate {
		err = Migrate(ctx, s.pool, string(s.schemaName))
	}
	if err == nil {
		err = s.check(ctx, s.pool)
	}
	if err == nil && noMigrate {
		err = s.warnOfRights(ctx)
	}
	return err
}

// closeLimit is how long Close lets the committers work on.
const closeLimit = 10 * time.Second

// Close ends the store; what was handed to it before is finished, unless that
// takes longer than ten seconds. The leases that it has given are kept until
// they end; those that wait for a Lease go back, which takes five seconds more
// at most.
func (s *Store) Close() error {
	if s.steps.close() {
		s.watch.end()
		s.cancel()
		s.handed.end()
		late := time.AfterFunc(closeLimit, s.giveUp)
		s.tasks.Wait()
		if err := s.giveBackAll(); err != nil {
			s.log.Warn("leases were not given back", "err", err)
		}
		late.Stop()
		s.giveUp()
		s.ended()
	}
	return nil
}

// enter begins a method.
func (s *Store) enter(ctx context.Context) error {
	if ctx == nil {
		return errors.New("pgspool: nil context")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.steps.closed() {
		return spool.ErrClosed
	}
	return nil
}

// query, row and exec run a statement in the store's exec mode, with the schema
// in place of each @.
func (s *Store) query(ctx context.Context, q querier, sql string, args ...any) (pgx.Rows, error) {
	return q.Query(ctx, s.in(sql), append([]any{s.mode}, args...)...)
}

func (s *Store) row(ctx context.Context, q querier, sql string, args ...any) pgx.Row {
	return q.QueryRow(ctx, s.in(sql), append([]any{s.mode}, args...)...)
}

func (s *Store) exec(
	ctx context.Context, q querier, sql string, args ...any,
) (pgconn.CommandTag, error) {
	return q.Exec(ctx, s.in(sql), append([]any{s.mode}, args...)...)
}

// sqlState is an error of the server, whichever driver it comes from.
type sqlState interface {
	error
	SQLState() string
}

// failure tells what an error of the server means to the relay.
func failure(err error) error {
	if err == nil {
		return nil
	}
	if state, ok := errors.AsType[sqlState](err); ok {
		switch state.SQLState() {
		case "53100", "53200": // disk full, out of memory
			return fmt.Errorf("%w: %w", spool.ErrFull, err)
		case "42P05", "26000": // a prepared statement is there already, or is not
			return fmt.Errorf("pgspool: %w: through a pooler in transaction mode, such as "+
				"pgbouncer, "+
				"connect with default_query_exec_mode=cache_describe", err)
		}
	}
	return fmt.Errorf("pgspool: %w", err)
}
