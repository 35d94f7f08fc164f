package node

import (
	"path/filepath"

	"hither/cache"
	"hither/cache/store"
	"hither/cache/store/disk"
)

// diskFolder is where, in the node's state folder, the disk tier lies.
const diskFolder = "cache"

// newStore makes what the network file asks for: nothing, memory, or memory with a disk below. epoch is above all that were
// stored before: each content that is fetched takes one, and no process fetches a trillion.
func (n *Node) newStore() (s cache.Store, epoch uint64, err error) {
	size := n.edge.Cache
	folder := filepath.Join(n.o.State, diskFolder)
	if size.Memory == 0 || size.Disk == 0 {
		if err := disk.Forget(folder); err != nil {
			n.o.Log.Error("what is on disk cannot be removed; empty the folder before a start with `edge.cache.disk`, for purges do not reach it", "folder", folder, "error", err)
		}
	}
	if size.Memory == 0 {
		return store.None{}, 0, nil
	}
	m, err := store.NewMemory(int64(size.Memory))
	if err != nil {
		return nil, 0, err // and not a nil *Memory, which would be a Store
	}
	if size.Disk == 0 {
		return m, 0, nil
	}
	d, err := disk.Open(disk.Config{Folder: folder, Size: int64(size.Disk), Log: n.o.Log, Now: n.o.Now})
	if err != nil {
		m.Close()
		return nil, 0, err
	}
	n.kept = d.Stats().Objects > 0
	return store.NewTiered(m, d, n.o.Now), d.Run() << 40, nil
}

// closeStore ends the store, where there is one that needs it.
func (n *Node) closeStore() {
	switch s := n.store.(type) {
	case *store.Memory:
		s.Close()
	case *store.Tiered:
		if err := s.Close(); err != nil {
			n.o.Log.Warn("the disk tier did not end well", "error", err)
		}
	}
}

// tiers are the parts of a store that count; nil where it has none such.
func tiers(s cache.Store) (*store.Memory, *disk.Store) {
	switch s := s.(type) {
	case *store.Memory:
		return s, nil
	case *store.Tiered:
		return s.Memory(), s.Disk()
	}
	return nil, nil
}
