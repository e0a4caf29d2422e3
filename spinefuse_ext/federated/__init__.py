"""Training across hospitals whose images stay where they are: weights travel, and are averaged."""

from __future__ import annotations

from spinefuse_ext.federated.averaging import average_weights
from spinefuse_ext.federated.scores import FederatedScores
from spinefuse_ext.federated.simulate import federate
from spinefuse_ext.federated.site import FederatedPlan, FederatedSite, plan_federation

__all__ = ["FederatedPlan", "FederatedScores", "FederatedSite", "average_weights", "federate", "plan_federation"]
