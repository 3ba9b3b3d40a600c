package delivery_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/postern-mail/postern/relay/delivery"
)

// A Dial of the application's makes connections from the SourceAddress of a
// next hop, and others from where it likes.
func ExampleSourceAddress() {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		if from := delivery.SourceAddress(ctx); from.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		return d.DialContext(ctx, network, address)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	ctx := delivery.WithSourceAddress(context.Background(), netip.MustParseAddr("127.0.0.1"))
	c, err := dial(ctx, "tcp", l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Println(c.LocalAddr().(*net.TCPAddr).IP)
	// Output: 127.0.0.1
}
