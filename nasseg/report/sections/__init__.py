"""The sections of a report, in their order."""

from nasseg.report.sections.architecture import ArchitectureSection
from nasseg.report.sections.base import Picture, Section
from nasseg.report.sections.budget import BudgetSection
from nasseg.report.sections.coverage import CoverageSection
from nasseg.report.sections.drift import DriftSection
from nasseg.report.sections.predictions import PredictionsSection
from nasseg.report.sections.search import SearchSection
from nasseg.report.sections.training import TrainingSection

SECTIONS: tuple[Section, ...] = (
    DriftSection(),
    PredictionsSection(),
    ArchitectureSection(),
    SearchSection(),
    TrainingSection(),
    CoverageSection(),
    BudgetSection(),
)

__all__ = ["SECTIONS", "Picture", "Section"]
