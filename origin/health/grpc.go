package health

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// grpc asks the gRPC health service (grpc.health.v1.Health/Check, https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
//
// It is one HTTP/2 request with one field each way, so it is made with net/http: gRPC for Go would bring a resolver, a
// balancer, reconnecting and a health client of its own, which all would have to be switched off here. Its server is what
// the tests talk to.
func (c *Checker) grpc(ctx context.Context, in *instance) error {
	req, err := c.request(ctx, in, "POST", "/grpc.health.v1.Health/Check", question(c.check.Service))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	if at, ok := ctx.Deadline(); ok {
		req.Header.Set("Grpc-Timeout", fmt.Sprintf("%dm", max(1, time.Until(at).Milliseconds())))
	}
	res, err := in.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "application/grpc") {
		return fmt.Errorf("status %d with content type %q is no gRPC answer", res.StatusCode, kind)
	}
	content, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil {
		return err
	}
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status") // without content the trailer is all there is: "Trailers-Only"
	}
	switch status {
	case "0":
	case "5":
		return fmt.Errorf("service %q is not known there", c.check.Service)
	case "12":
		return errors.New("the health service is not implemented there")
	case "":
		return errors.New("gRPC answer without a status")
	default:
		return fmt.Errorf("gRPC status %.10s", status)
	}
	serving, err := reply(content)
	switch {
	case err != nil:
		return err
	case serving == 1:
		return nil
	case serving == 2:
		return errors.New("NOT_SERVING")
	}
	return fmt.Errorf("serving status %d", serving)
}

// question is a HealthCheckRequest (string service = 1) as a gRPC message: a byte that says it is not compressed, its
// length in four, and itself.
func question(service string) []byte {
	var message []byte
	if service != "" {
		message = protowire.AppendTag(message, 1, protowire.BytesType)
		message = protowire.AppendString(message, service)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// reply is the status of a HealthCheckResponse (ServingStatus status = 1), 0 where it is left out. Fields that are not
// known are passed over, and the last of several counts, as in any protobuf.
func reply(content []byte) (status int32, err error) {
	if len(content) < 5 || content[0] != 0 || int64(binary.BigEndian.Uint32(content[1:])) != int64(len(content)-5) {
		return 0, errors.New("gRPC answer without one whole message")
	}
	for b := content[5:]; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		if !number.IsValid() {
			return 0, errors.New("gRPC answer with a field number that protobuf does not have")
		}
		b = b[n:]
		if number == 1 && kind == protowire.VarintType {
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return 0, protowire.ParseError(n)
			}
			status, b = int32(v), b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return status, nil
}
