package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// An owner is a user and a group by number. The zero owner is root; as a flag it is not
// set until Set was called.
type owner struct {
	uid, gid int
	set      bool
}

func (o *owner) String() string {
	if !o.set {
		return ""
	}
	return fmt.Sprintf("%d:%d", o.uid, o.gid)
}

// Set reads UID:GID. Names are not taken: where this is used, in a container, there is
// no list of them.
func (o *owner) Set(s string) error {
	user, group, _ := strings.Cut(s, ":")
	uid, err := strconv.ParseUint(user, 10, 31)
	gid, err2 := strconv.ParseUint(group, 10, 31)
	if err != nil || err2 != nil {
		return errors.New("want UID:GID, both numbers, such as 65532:65532")
	}
	*o = owner{int(uid), int(gid), true}
	return nil
}

func (o *owner) Type() string { return "UID:GID" }

// take gives a folder and all in it to o. It follows no symbolic link, and leads nowhere
// out of the folder: who owns it may change it meanwhile, and the caller is root. Files
// that go away under way are those of running nodes, and no mistake.
func (o *owner) take(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = root.Lchown(path, o.uid, o.gid)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}
