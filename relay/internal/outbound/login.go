package outbound

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/relay/delivery"
)

// begin waits until a host may be logged on to, or gives the refusal of one
// tried before. end must follow. It is nil where there is nothing to show.
func (c *Client) begin(ctx context.Context, h *hop, addr string) (*login, *delivery.Error) {
	if h.proof() == byNothing {
		return nil, nil
	}
	l, failed := c.logons.begin(ctx, h, addr)
	if failed != nil {
		return nil, failed
	}
	who := &login{logon: l}
	if h.Tokens == nil {
		return who, nil
	}
	token, err := c.tokens.get(ctx, h, "")
	if err != nil {
		failed = lost(ctx, delivery.OpAuth, "4.7.0", err)
		who.end(failed)
		return nil, failed
	}
	who.token = token
	return who, nil
}

// logOn logs on where there is something to show. A token that is refused is
// replaced once.
func (c *Client) logOn(ctx context.Context, h *hop, cn *conn, who *login) *delivery.Error {
	if who == nil {
		return nil
	}
	failed := cn.auth(ctx, h, who)
	if h.Tokens != nil && failed != nil && ofSecret(failed.Reply.Code) && !who.anew {
		token, err := c.tokens.get(ctx, h, who.token)
		if err != nil {
			failed.Err = errors.Join(failed.Err, err)
			return failed
		}
		c.debug(ctx, "token refused, trying another", failedArgs(at(cn.host, failed))...)
		who.token, who.anew = token, true
		failed = cn.auth(ctx, h, who)
		who.untold = failed != nil && (failed.Reply.Code == 0 || failed.Reply.Code == 421)
	}
	return failed
}
