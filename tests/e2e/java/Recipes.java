import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.recipes.leader.LeaderElectionSupport;
import org.apache.zookeeper.recipes.lock.WriteLock;

/**
 * Curator's and ZooKeeper's recipes across a disturbance of the server.
 *
 * <p>Recipes CONNECT-STRING [NAME..]: sets every recipe up, prints READY, waits for a line on
 * standard input (the disturbance happens meanwhile), then demands that each recipe goes on and
 * that every session is the one it was. Prints a line per recipe; exit status 1 if one failed.
 */
public class Recipes {
	interface Step {
		void run() throws Exception;
	}

	interface Condition {
		boolean holds() throws Exception;
	}

	/** A recipe in two acts; an exception is a failure. */
	static class Recipe {
		final String name;
		final Step before;
		final Step after;
		boolean failed;

		Recipe(String name, Step before, Step after) {
			this.name = name;
			this.before = before;
			this.after = after;
		}

		void act(String which, Step step) {
			if (failed) {
				return;
			}
			try {
				step.run();
			} catch (Throwable t) {
				failed = true;
				System.out.println("FAILED " + name + " " + which + ": " + t);
				t.printStackTrace(System.out);
			}
		}
	}

	static final List<Recipe> recipes = new ArrayList<>();
	static CuratorFramework one;
	static CuratorFramework two;
	static ZooKeeper plain;

	static void recipe(String name, Step before, Step after) {
		recipes.add(new Recipe(name, before, after));
	}

	static void await(String what, Condition condition) throws Exception {
		long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
		while (!condition.holds()) {
			if (System.nanoTime() > deadline) {
				throw new IllegalStateException(what + ": not in time");
			}
			Thread.sleep(10);
		}
	}

	static void demand(String what, boolean holds) {
		if (!holds) {
			throw new IllegalStateException(what);
		}
	}

	static CuratorFramework connect(String where) {
		CuratorFramework c = CuratorFrameworkFactory.builder().connectString(where)
				.sessionTimeoutMs(30000).connectionTimeoutMs(5000)
				.retryPolicy(new RetryForever(50)).build();
		c.start();
		return c;
	}

	static void mutex() {
		InterProcessMutex mine = new InterProcessMutex(one, "/mutex");
		InterProcessMutex theirs = new InterProcessMutex(two, "/mutex");
		AtomicBoolean got = new AtomicBoolean();
		CountDownLatch done = new CountDownLatch(1);
		recipe("InterProcessMutex", () -> {
			mine.acquire();
			Thread waiter = new Thread(() -> {
				try {
					theirs.acquire();
					got.set(true);
					theirs.release();
				} catch (Exception e) {
					e.printStackTrace(System.out);
				}
				done.countDown();
			});
			waiter.setDaemon(true);
			waiter.start();
			await("a second participant", () -> mine.getParticipantNodes().size() == 2);
		}, () -> {
			demand("still held", mine.isAcquiredInThisProcess());
			demand("nobody else got it", !got.get());
			mine.release();
			demand("handed over", done.await(40, TimeUnit.SECONDS) && got.get());
		});
	}

	static void locks() {
		InterProcessReadWriteLock mine = new InterProcessReadWriteLock(one, "/rw");
		InterProcessReadWriteLock theirs = new InterProcessReadWriteLock(two, "/rw");
		recipe("InterProcessReadWriteLock", () -> {
			mine.readLock().acquire();
			theirs.readLock().acquire();
		}, () -> {
			demand("no writer beside readers",
					!theirs.writeLock().acquire(100, TimeUnit.MILLISECONDS));
			mine.readLock().release();
			theirs.readLock().release();
			demand("a writer alone", mine.writeLock().acquire(20, TimeUnit.SECONDS));
			mine.writeLock().release();
		});
		InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(one, "/semaphore", 2);
		Lease[] leases = new Lease[2];
		recipe("InterProcessSemaphoreV2", () -> {
			leases[0] = semaphore.acquire();
			leases[1] = semaphore.acquire();
		}, () -> {
			demand("no third lease", semaphore.acquire(100, TimeUnit.MILLISECONDS) == null);
			semaphore.returnLease(leases[0]);
			Lease again = semaphore.acquire(20, TimeUnit.SECONDS);
			demand("a lease returned is a lease", again != null);
			semaphore.returnLease(again);
			semaphore.returnLease(leases[1]);
		});
	}

	static void leaders() {
		LeaderLatch mine = new LeaderLatch(one, "/latch", "one");
		LeaderLatch theirs = new LeaderLatch(two, "/latch", "two");
		recipe("LeaderLatch", () -> {
			mine.start();
			demand("first is leader", mine.await(20, TimeUnit.SECONDS));
			theirs.start();
			await("two participants", () -> mine.getParticipants().size() == 2);
		}, () -> {
			await("one leader", () -> mine.hasLeadership() ^ theirs.hasLeadership());
			LeaderLatch leader = mine.hasLeadership() ? mine : theirs;
			LeaderLatch other = leader == mine ? theirs : mine;
			leader.close();
			demand("leadership passes", other.await(40, TimeUnit.SECONDS));
			other.close();
		});
		AtomicInteger leading = new AtomicInteger();
		AtomicInteger most = new AtomicInteger();
		AtomicInteger terms = new AtomicInteger();
		LeaderSelectorListenerAdapter listener = new LeaderSelectorListenerAdapter() {
			@Override
			public void takeLeadership(CuratorFramework client) throws Exception {
				most.accumulateAndGet(leading.incrementAndGet(), Math::max);
				terms.incrementAndGet();
				try {
					Thread.sleep(100);
				} finally {
					leading.decrementAndGet();
				}
			}
		};
		LeaderSelector first = new LeaderSelector(one, "/selector", listener);
		LeaderSelector second = new LeaderSelector(two, "/selector", listener);
		recipe("LeaderSelector", () -> {
			first.autoRequeue();
			second.autoRequeue();
			first.start();
			second.start();
			await("leadership taken", () -> terms.get() > 2);
		}, () -> {
			int before = terms.get();
			await("leadership goes round", () -> terms.get() > before + 2);
			demand("never two leaders", most.get() == 1);
			first.close();
			second.close();
		});
	}

	static void caches() {
		PathChildrenCache children = new PathChildrenCache(one, "/children", true);
		recipe("PathChildrenCache", () -> {
			two.create().forPath("/children");
			two.create().forPath("/children/a", "1".getBytes());
			children.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
			demand("built", children.getCurrentData().size() == 1);
		}, () -> {
			two.create().forPath("/children/b", "2".getBytes());
			two.setData().forPath("/children/a", "3".getBytes());
			await("both seen", () -> children.getCurrentData("/children/b") != null
					&& new String(children.getCurrentData("/children/a").getData()).equals("3"));
			two.delete().forPath("/children/a");
			await("delete seen", () -> children.getCurrentData("/children/a") == null);
			children.close();
		});
		NodeCache node = new NodeCache(one, "/node");
		recipe("NodeCache", () -> {
			node.start(true);
			two.create().forPath("/node", "1".getBytes());
			await("created", () -> node.getCurrentData() != null);
		}, () -> {
			two.setData().forPath("/node", "2".getBytes());
			await("changed", () -> new String(node.getCurrentData().getData()).equals("2"));
			two.delete().forPath("/node");
			await("gone", () -> node.getCurrentData() == null);
			node.close();
		});
		TreeCache tree = new TreeCache(one, "/tree");
		recipe("TreeCache", () -> {
			two.create().creatingParentsIfNeeded().forPath("/tree/a/b", "1".getBytes());
			tree.start();
			await("filled", () -> tree.getCurrentData("/tree/a/b") != null);
		}, () -> {
			two.create().creatingParentsIfNeeded().forPath("/tree/a/c/d", "2".getBytes());
			two.delete().forPath("/tree/a/b");
			await("changed", () -> tree.getCurrentData("/tree/a/c/d") != null
					&& tree.getCurrentData("/tree/a/b") == null);
			tree.close();
		});
		CuratorCache cache = CuratorCache.build(one, "/cache");
		recipe("CuratorCache", () -> {
			two.create().creatingParentsIfNeeded().forPath("/cache/a/b", "1".getBytes());
			cache.start();
			await("filled", () -> cache.get("/cache/a/b").isPresent());
		}, () -> {
			two.create().creatingParentsIfNeeded().forPath("/cache/x/y", "2".getBytes());
			two.setData().forPath("/cache/a/b", "3".getBytes());
			await("changed", () -> cache.get("/cache/x/y").isPresent()
					&& new String(cache.get("/cache/a/b").get().getData()).equals("3"));
			cache.close();
		});
	}

	static final QueueSerializer<String> TEXT = new QueueSerializer<String>() {
		@Override
		public byte[] serialize(String item) {
			return item.getBytes();
		}

		@Override
		public String deserialize(byte[] bytes) {
			return new String(bytes);
		}
	};

	static void queues() {
		Set<String> consumed = ConcurrentHashMap.newKeySet();
		AtomicInteger twice = new AtomicInteger();
		QueueConsumer<String> consumer = new QueueConsumer<String>() {
			@Override
			public void consumeMessage(String message) {
				if (!consumed.add(message)) {
					twice.incrementAndGet();
				}
			}

			@Override
			public void stateChanged(CuratorFramework client, ConnectionState state) {
			}
		};
		DistributedQueue<String> queue =
				QueueBuilder.builder(one, consumer, TEXT, "/queue").buildQueue();
		recipe("DistributedQueue", () -> {
			queue.start();
			for (int i = 0; i < 20; i++) {
				queue.put("before " + i);
			}
			await("20 consumed", () -> consumed.size() == 20);
		}, () -> {
			for (int i = 0; i < 20; i++) {
				queue.put("after " + i);
			}
			await("40 consumed", () -> consumed.size() == 40);
			demand("none twice", twice.get() == 0);
			queue.close();
		});
		DistributedAtomicLong counter =
				new DistributedAtomicLong(one, "/counter", new RetryForever(10));
		recipe("DistributedAtomicLong", () -> {
			for (int i = 0; i < 10; i++) {
				demand("incremented", counter.increment().succeeded());
			}
		}, () -> {
			for (int i = 0; i < 10; i++) {
				demand("incremented", counter.increment().succeeded());
			}
			demand("20 counted", counter.get().postValue() == 20);
		});
		DistributedBarrier barrier = new DistributedBarrier(one, "/barrier");
		recipe("DistributedBarrier", barrier::setBarrier, () -> {
			demand("closed", !barrier.waitOnBarrier(50, TimeUnit.MILLISECONDS));
			new DistributedBarrier(two, "/barrier").removeBarrier();
			demand("open", barrier.waitOnBarrier(20, TimeUnit.SECONDS));
		});
	}

	static void nodes() {
		PersistentNode node = new PersistentNode(one, CreateMode.EPHEMERAL, false, "/mine",
				"x".getBytes());
		long[] session = new long[1];
		recipe("PersistentNode", () -> {
			node.start();
			demand("made", node.waitForInitialCreate(20, TimeUnit.SECONDS));
			session[0] = two.checkExists().forPath("/mine").getEphemeralOwner();
		}, () -> {
			Stat stat = two.checkExists().forPath("/mine");
			demand("still there", stat != null && stat.getEphemeralOwner() == session[0]);
			node.close();
		});
		recipe("transaction", () -> {
			one.transaction().forOperations(
					one.transactionOp().create().forPath("/tx", "1".getBytes()),
					one.transactionOp().create().forPath("/tx/a"));
		}, () -> {
			one.transaction().forOperations(
					one.transactionOp().check().withVersion(0).forPath("/tx"),
					one.transactionOp().setData().forPath("/tx", "2".getBytes()),
					one.transactionOp().delete().forPath("/tx/a"));
			demand("all of it", new String(one.getData().forPath("/tx")).equals("2")
					&& one.getChildren().forPath("/tx").isEmpty());
		});
	}

	static void plainRecipes() {
		WriteLock[] locks = new WriteLock[1];
		recipe("zookeeper WriteLock", () -> {
			locks[0] = new WriteLock(plain, "/writelock", ZooDefs.Ids.OPEN_ACL_UNSAFE);
			locks[0].lock();
			await("owner", () -> locks[0].isOwner());
		}, () -> {
			demand("still owner", locks[0].isOwner());
			locks[0].unlock();
		});
		org.apache.zookeeper.recipes.queue.DistributedQueue[] queue =
				new org.apache.zookeeper.recipes.queue.DistributedQueue[1];
		recipe("zookeeper DistributedQueue", () -> {
			queue[0] = new org.apache.zookeeper.recipes.queue.DistributedQueue(plain,
					"/plainqueue", ZooDefs.Ids.OPEN_ACL_UNSAFE);
			for (int i = 0; i < 5; i++) {
				queue[0].offer(("item " + i).getBytes());
			}
		}, () -> {
			for (int i = 0; i < 5; i++) {
				String item = new String(queue[0].take());
				demand("in order: " + item, item.equals("item " + i));
			}
			demand("empty", queue[0].poll() == null);
		});
		LeaderElectionSupport election = new LeaderElectionSupport();
		AtomicBoolean elected = new AtomicBoolean();
		recipe("zookeeper LeaderElectionSupport", () -> {
			plain.create("/election", null, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
			election.setZooKeeper(plain);
			election.setRootNodeName("/election");
			election.setHostName("here");
			election.addListener(e -> elected.compareAndSet(false,
					e == LeaderElectionSupport.EventType.ELECTED_COMPLETE));
			election.start();
			await("elected", elected::get);
		}, () -> {
			demand("leader's name", election.getLeaderHostName().equals("here"));
			election.stop();
		});
	}

	/** A plain client has no retries of its own: wait until it is connected again. */
	static void connected() throws Exception {
		await("the plain client connected", () -> plain.getState() == ZooKeeper.States.CONNECTED);
	}

	public static void main(String[] args) throws Exception {
		one = connect(args[0]);
		two = connect(args[0]);
		plain = new ZooKeeper(args[0], 30000, event -> { });
		connected();
		mutex();
		locks();
		leaders();
		caches();
		queues();
		nodes();
		plainRecipes();
		for (Recipe r : recipes) {
			r.act("before", r.before);
		}
		long[] before = sessions();
		System.out.println("READY");
		System.out.flush();
		new Scanner(System.in).nextLine();
		one.checkExists().forPath("/");
		two.checkExists().forPath("/");
		connected();
		plain.exists("/", false);
		for (Recipe r : recipes) {
			r.act("after", r.after);
		}
		long[] after = sessions();
		recipe("sessions", () -> { }, () -> {
			for (int i = 0; i < before.length; i++) {
				demand("session " + i + " is the same", before[i] == after[i]);
			}
		});
		recipes.get(recipes.size() - 1).act("after", recipes.get(recipes.size() - 1).after);
		long failed = recipes.stream().filter(r -> r.failed).count();
		System.out.println("RESULT " + (recipes.size() - failed) + " " + failed);
		System.out.flush();
		Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
	}

	static long[] sessions() throws Exception {
		return new long[] {one.getZookeeperClient().getZooKeeper().getSessionId(),
			two.getZookeeperClient().getZooKeeper().getSessionId(), plain.getSessionId()};
	}
}
