package pgspool

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

// maxTxContent bounds the content of a message in a transaction of the
// application: it is one parameter, and the protocol bounds those.
const maxTxContent = 256 << 20

var (
	_ spool.Committer = (*Tx)(nil)

	errNoTx      = errors.New("pgspool: nil transaction")
	errTxSettle  = errors.New("pgspool: a transaction of the application settles nothing")
	errTxContent = errors.New("pgspool: the content is too long for a transaction")
	errTxClaim   = errors.New("pgspool: the key changes hands again and again")
)

// Tx puts messages and a consumer's place into a transaction of the
// application: they count if, and only if, it commits. It is a
// [spool.Committer] for [relay.Relay.SubmitIn], and belongs to one goroutine,
// as the transaction does.
//
// # Errors
//
// What the store itself refuses leaves the transaction as it was, and the
// application may go on with it: [spool.ErrExists], [spool.ErrNoDelivery],
// [spool.ErrRecordSize], a [*spool.ClaimedError]. After an error of the server,
// such as a lost connection or a full disk, only a rollback is left, as after
// one of the application's own statements.
//
// # Who waits
//
// A message holds nobody up. One with an idempotency key waits for other
// transactions of the application that have put in the same key, until they
// end, one that was refused the key among them: it is then told of their
// message, or takes the key. Who puts in several
// keys does so in the same order everywhere, or PostgreSQL ends a deadlock.
// Relays and other keys wait for neither, however long a transaction is open.
//
// # Isolation
//
// With REPEATABLE READ and SERIALIZABLE, the key that another transaction has
// put in and committed meanwhile is a serialization failure (SQLSTATE 40001),
// as with each row that two such transactions write: run the transaction again.
// Without that, messages cause none, and neither does [Tx.Advance], but for the
// first one of a consumer: a new one looks at the others.
type Tx struct {
	store *Store
	tx    appTx // nil without a transaction
}

// Tx returns a transaction of pgx as the store sees it. It must be one of the
// store's database.
func (s *Store) Tx(tx pgx.Tx) *Tx {
	if tx == nil {
		return &Tx{store: s}
	}
	return &Tx{store: s, tx: pgxTx{tx}}
}

// SQLTx returns a transaction of database/sql as the store sees it, with any
// driver for PostgreSQL. It must be one of the store's database.
func (s *Store) SQLTx(tx *sql.Tx) *Tx {
	if tx == nil {
		return &Tx{store: s}
	}
	return &Tx{store: s, tx: sqlTx{tx}}
}

// appTx is a transaction of the application. Arguments are strings, int64 and
// non-nil []byte only, which every driver and every exec mode understands.
type appTx interface {
	row(ctx context.Context, text string, args ...any) interface{ Scan(...any) error }
}

type pgxTx struct{ pgx.Tx }

func (t pgxTx) row(
	ctx context.Context, text string, args ...any,
) interface{ Scan(...any) error } {
	return t.QueryRow(ctx, text, args...)
}

type sqlTx struct{ *sql.Tx }

func (t sqlTx) row(
	ctx context.Context, text string, args ...any,
) interface{ Scan(...any) error } {
	return t.QueryRowContext(ctx, text, args...)
}

func (t *Tx) row(ctx context.Context, text string, args ...any) interface{ Scan(...any) error } {
	return t.tx.row(ctx, t.store.in(text), args...)
}

func (t *Tx) enter(ctx context.Context) error {
	if t.tx == nil {
		return errNoTx
	}
	return t.store.enter(ctx)
}

// commitText writes a message, all of it in one step and in one round trip. The
// lock comes before the claim, the claim before the message, and each only
// where the one before was given. Nothing here reads a table: to a SERIALIZABLE
// transaction that would be a conflict with all others.
const commitText = `
WITH turn AS MATERIALIZED (
	SELECT pg_advisory_xact_lock($1::int, $2::int) WHERE $3::bytea <> ''::bytea),
claimed AS (
	INSERT INTO @claim AS c (hash, message, digest, made, expires)
	SELECT $3::bytea, $4::uuid, $5::bytea, @clock(),
		@clock() + $6::bigint * interval '1 microsecond'
	FROM turn
	ON CONFLICT (hash) DO UPDATE SET message = excluded.message, digest = excluded.digest,
		made = excluded.made, expires = excluded.expires
	WHERE c.expires <= @clock()
	RETURNING hash),
written AS (
	INSERT INTO @message (id, parts, size, meta)
	SELECT $4::uuid, $7::int, octet_length($9::bytea), $8::bytea
	WHERE (SELECT count(*) FROM claimed) = (SELECT count(*) FROM turn)
	ON CONFLICT (id) DO NOTHING
	RETURNING id),
content AS (
	INSERT INTO @chunk (id, n, sum, data)
	SELECT w.id, c.n - 1, c.sum::int,
		substring($9::bytea FROM ((c.n - 1) * $11::int + 1)::int FOR $11::int)
	FROM written w, unnest(string_to_array($10::text, ',')) WITH ORDINALITY AS c (sum, n)),
left_behind AS (INSERT INTO @wake (id, step) SELECT id, $12::bytea FROM written)
SELECT (SELECT count(*) FROM claimed), (SELECT count(*) FROM written)`

// Commit stores a message in the transaction. It is sent if, and only if, that
// commits: a relay on the store takes it within about a tenth of a second, and
// writes its events. A message that settles something is refused. Its content
// has at most 256 MiB.
func (t *Tx) Commit(ctx context.Context, p *spool.Prepared) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	if err := checkTx(p); err != nil {
		return err
	}
	args, hash := commitArgs(p)
	for range groupTries {
		var claimed, written int64
		if err := t.row(ctx, commitText, args...).Scan(&claimed, &written); err != nil {
			return failure(err)
		}
		if written > 0 {
			t.store.waker.expect()
			return nil
		}
		if err := t.refusal(ctx, hash, claimed > 0); err != nil {
			return err
		}
	}
	return errTxClaim
}

func checkTx(p *spool.Prepared) error {
	switch c := &p.Commit; {
	case len(c.Deliveries) == 0:
		return spool.ErrNoDelivery
	case len(c.Settle) > 0:
		return errTxSettle
	case len(c.Prepend)+len(p.Content) > maxTxContent:
		return errTxContent
	default:
		return checkRecords(c.Events)
	}
}

// commitArgs returns the arguments of commitText, and the hash of the key.
func commitArgs(p *spool.Prepared) (args []any, hash []byte) {
	c := &p.Commit
	hash, digest, ttl := []byte{}, []byte{}, int64(0)
	if c.Claim != nil {
		hash = claimHash(c.Claim.Scope, c.Claim.Key)
		digest, ttl = c.Claim.Digest[:], max(c.Claim.TTL, 0).Microseconds()
	}
	lock := int64(0)
	if len(hash) > 0 {
		lock = int64(claimLock(hash))
	}
	content := slices.Concat([]byte{}, c.Prepend, p.Content)
	return []any{
		int64(claiming), lock, hash, uuidOf(c.Message.ID), digest, ttl, int64(len(c.Deliveries)),
		appendMessage([]byte{}, &c.Message), content, sumsOf(content), int64(rowBytes(content)),
		appendStep(nil, int64(len(content)), c),
	}, hash
}

// sumsOf are the checksums of the rows that content makes.
func sumsOf(content []byte) string {
	var sums []string
	for part := range slices.Chunk(content, rowBytes(content)) {
		sums = append(sums, strconv.Itoa(int(sumOf(part))))
	}
	return strings.Join(sums, ",")
}

func uuidOf(id spool.ID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

const (
	claimerText = `SELECT encode(uuid_send(message), 'hex'), encode(digest, 'hex') FROM @claim
WHERE hash = $1::bytea`
	unclaimText = `
WITH d AS (DELETE FROM @claim WHERE hash = $1::bytea RETURNING hash) SELECT count(*) FROM d`
)

// refusal tells why nothing was stored, nil if it is worth another try: the key
// is free by now.
func (t *Tx) refusal(ctx context.Context, hash []byte, claimed bool) error {
	switch {
	case len(hash) == 0:
		return spool.ErrExists
	case claimed: // for a message that exists
		var n int64
		if err := t.row(ctx, unclaimText, hash).Scan(&n); err != nil {
			return failure(err)
		}
		return spool.ErrExists
	}
	var message, digest string
	err := t.row(ctx, claimerText, hash).Scan(&message, &digest)
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return failure(err)
	}
	var e spool.ClaimedError
	if fromHex(e.Message[:], message) && fromHex(e.Digest[:], digest) {
		return &e
	}
	return failure(fmt.Errorf("the claim of %s cannot be read", message))
}

// fromHex decodes all of to.
func fromHex(to []byte, s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && copy(to, b) == len(to) && len(b) == len(to)
}
