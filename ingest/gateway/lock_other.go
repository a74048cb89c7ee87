//go:build !unix

package gateway

import (
	"errors"
	"os"
)

// lockFolder refuses: without a lock that ends with the process, two gateways
// could send from one spool.
func lockFolder(string) (*os.File, error) {
	return nil, errors.New("cannot lock the spool: the gateway runs on Linux and other Unix systems")
}
