"""Batches of pictures of one shape."""

import torch

from swinkit.data.sampling import FollowsEpoch, ResumableSampler, derive_seed


class GroupedSampler(ResumableSampler):
    """As `ResumableSampler`, but the pictures of a batch are of one group wherever that is possible.

    The order stays a pure function of (seed, epoch): every group is shuffled and cut into batches over all
    ranks; what is left of the groups makes up the last batches, and the batches are shuffled.

    Args:
        groups: number of each item's group.
        batch_size: items of a rank's batch.
        seed: of the order.
        rank: of this process.
        world: number of processes.
        follower: is told every epoch.
    """

    def __init__(
        self,
        groups: list[int],
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        follower: FollowsEpoch | None = None,
    ) -> None:
        super().__init__(len(groups), shuffle=True, seed=seed, rank=rank, world=world, follower=follower)
        self.groups = torch.tensor(groups)
        self.whole = batch_size * world

    def _order(self) -> list[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator)
        batches: list[torch.Tensor] = []
        rest: list[torch.Tensor] = []
        for group in self.groups.unique():
            members = order[self.groups[order] == group]
            full = len(members) // self.whole * self.whole
            batches += members[:full].split(self.whole) if full else ()
            rest.append(members[full:])
        shuffled = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        # A last batch that is not full stays last, so that batches begin where the loader expects them.
        order = torch.cat([*shuffled, *rest])
        needed = len(self) * self.world
        order = order.repeat(-(-needed // max(self.length, 1)))[:needed]
        return order[self.rank :: self.world].tolist()
