# SPDX-License-Identifier: Apache-2.0
"""Fills the templates in, cuts the text into tokens and lays a batch out.

Turns before the question stand before it, each with its instruction and the pose that it was asked of; those of a
conversation with what was answered, too.

Legend: B samples, L the longest one's tokens, P poses read (``<pose>`` placeholders, row by row), J = 24 joints, T
instructions, N the longest one's tokens.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_addon.contract.kinematics import heading, yaw_matrix
from blender_addon.contract.messages import Turn, View
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import NUM_JOINTS, STANDING_POSE

from .speech import read_speech
from .spelling import Spelling
from .templates import (
    CONVERSATION_TASK,
    EARLIER_POSE_PLACEHOLDER,
    IMAGE_PLACEHOLDER,
    NUM_POSE_TOKENS,
    OWN_WORDS,
    POSE_OUTPUT,
    POSE_PLACEHOLDER,
    SEEN_POSE_PLACEHOLDER,
    VIEW_ANSWER,
    Templates,
    fitting,
    height_words,
    in_own_words,
    reads_image,
)
from .tokens import PromptTokenizer

PROCESSOR_FILE: Final = "processor_config.json"
MAX_TURNS: Final = 3
"""So many of the last turns are read with an edit."""
MAX_SPOKEN_TURNS: Final = 8
"""And so many with a question of a conversation."""
NO_PLACE: Final = -1
"""In ``text_places``: the token is of no instruction."""
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Asked(Protocol):
    """What is wished for, in words."""

    @property
    def task(self) -> str: ...
    @property
    def instruction(self) -> str: ...


class PromptSample(Asked, Protocol):
    """What a prompt is made of; poses (J, 3) axis-angle, radians."""

    @property
    def pose_aa(self) -> Floats | None: ...
    @property
    def image(self) -> Image.Image | None: ...
    @property
    def history(self) -> Sequence[Turn]: ...


@dataclass(frozen=True)
class PromptBatch:
    """Prompts side by side, padded on the right.

    Attributes:
        input_ids: (B, L).
        attention_mask: (B, L), 0 on padding.
        answer_at: (B,) where each answer begins; what is predicted at the place before is its first token.
        is_learnt: (B, L) the tokens that are the model's to say: the answers, of this turn and of those that follow; of
            an answer that its first token chooses only that one.
        poses: (P, J, 6) rot6d without the heading of the sample's last pose, or as the camera sees them; the standing
            pose holds the place of one that is seen in a picture.
        headings: (B,) radians, the heading that was taken out of each sample's poses, or the azimuth of the camera that
            sees them; 0 where there was none.
        images: the pictures that the prompts need, row by row.
        pose_images: (P,) the number of the image that a pose is read from, -1 where it is given.
        shows_patches: whether a prompt has places for an image's patches.
        texts: (T, N) every different instruction by itself, between the tokens that begin and end a text, padded.
        text_places: (B, L) for each token which of the T x N it is, NO_PLACE where it is of no instruction.
    """

    input_ids: Ints
    attention_mask: Ints
    answer_at: Ints
    is_learnt: npt.NDArray[np.bool_]
    poses: Floats
    headings: Floats
    images: list[Image.Image]
    pose_images: Ints
    shows_patches: bool
    texts: Ints
    text_places: Ints

    def asked(self) -> Ints:
        """(B,) which of the texts each sample's own instruction is, the last in its row; NO_PLACE where it has none."""
        within = np.arange(self.text_places.shape[1]) * (self.text_places != NO_PLACE)
        last = np.take_along_axis(self.text_places, within.argmax(1)[:, None], axis=1)[:, 0]
        return np.where(last == NO_PLACE, NO_PLACE, last // self.texts.shape[1])


class _Piece(NamedTuple):
    """A part of a prompt; instructions are told from the template's words."""

    text: str
    is_instruction: bool = False


@dataclass(frozen=True)
class _Row:
    """One row of a PromptBatch before it is padded; what has a name of there means the same.

    Attributes:
        instructions: from which token to which each instruction goes.
        poses: (J, 6) each.
        image: the picture that it needs, or None.
        is_seen: whether its poses are read from that.
    """

    ids: list[int]
    is_learnt: list[int]
    answer_at: int
    instructions: list[tuple[int, int]]
    poses: list[Floats]
    heading: float
    image: Image.Image | None
    is_seen: bool
    shows_patches: bool


class Prompter:
    """Makes prompts by a checkpoint's templates.

    Args:
        tokenizer: the checkpoint's.
        templates: for each task, question and answer.
        prompt_format: what wraps each question, ``{question}`` in it.
        max_instruction_tokens: longer instructions are cut.
        known_words: words that slips of the keyboard are taken back to; None leaves the spelling to the model.
        image_tokens: how many places an image takes; None where no template shows patches.
        turn_template: how a turn before the question is read; None where none is.
        verbal_answers: by name, what may be answered in the place of a pose; None where every answer is one.
        pose_threshold: the least probability of a pose among the answers at which it is given.
        view_threshold: the least probability at which words are taken for tied to the camera, where the model tells it
            apart from its answer.
        wish_threshold: the least probability at which words are taken to ask for nothing, where the model has a head
            that tells it beside its answer.
        view_template: what stands before a prompt whose poses are as the camera sees them; None where none are.
        spoken_tokens: all that may be said in the model's own words; None for every token.
    """

    def __init__(
        self,
        tokenizer: PromptTokenizer,
        templates: Templates,
        *,
        prompt_format: str = "{question}",
        max_instruction_tokens: int = 512,
        known_words: Sequence[str] | None = None,
        image_tokens: Callable[[Image.Image], int] | None = None,
        turn_template: str | None = None,
        verbal_answers: Mapping[str, str] | None = None,
        pose_threshold: float = 0.5,
        view_threshold: float = 0.5,
        wish_threshold: float = 0.5,
        view_template: str | None = None,
        spoken_tokens: Sequence[int] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.templates = templates
        self._prompt_format = prompt_format
        self._max_instruction_tokens = max_instruction_tokens
        self._spelling = None if known_words is None else Spelling(known_words, tokenizer.vocabulary())
        self._image_tokens = image_tokens
        self._turn_template = turn_template
        self.verbal_answers = dict(verbal_answers or {})
        self.pose_threshold = pose_threshold
        self.view_threshold = view_threshold
        self.wish_threshold = wish_threshold
        self._view_template = view_template
        self.spoken_tokens = spoken_tokens

    @classmethod
    def load(cls, folder: Path) -> Prompter:
        """The prompter of a folder that ``save_pretrained`` wrote, for prompts without an image's patches.

        Raises:
            FileNotFoundError: a file of it is not there.
            ValueError: a file of it is damaged, or its voice is of another model.
        """
        file = folder / PROCESSOR_FILE
        speech = read_speech(folder)
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
            return cls(
                PromptTokenizer.load(folder),
                settings["templates"] | ({} if speech is None else speech.templates),
                prompt_format=settings["prompt_format"],
                max_instruction_tokens=settings["max_instruction_tokens"],
                known_words=settings["known_words"],
                turn_template=settings.get("turn_template"),
                verbal_answers=settings.get("verbal_answers"),
                pose_threshold=settings.get("pose_threshold", 0.5),
                view_threshold=settings.get("view_threshold", 0.5),
                wish_threshold=settings.get("wish_threshold", 0.5),
                view_template=settings.get("view_template"),
                spoken_tokens=None if speech is None else speech.tokens,
            )
        except OSError:
            raise FileNotFoundError(f"there is no {file}: copy or download the model again") from None
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged ({error!r}): copy or download the model again") from None

    @property
    def sees_poses(self) -> bool:
        """Whether a template has ``<seen_pose>``."""
        return self._shows(SEEN_POSE_PLACEHOLDER)

    @property
    def shows_patches(self) -> bool:
        """Whether a template has ``<image>``."""
        return self._shows(IMAGE_PLACEHOLDER)

    def reads_words(self, task: str) -> bool:
        """Whether an instruction of a task is read: a small model tells a pose by the picture alone."""
        templates = self.templates.get(task)
        return templates is None or any("{instruction}" in each["question"] for each in templates)

    def unread(self, samples: Iterable[Asked]) -> int:
        """How many of the samples have an instruction that is not read."""
        return sum(bool(one.instruction.strip()) and not self.reads_words(one.task) for one in samples)

    def _shows(self, placeholder: str) -> bool:
        questions = (each["question"] for templates in self.templates.values() for each in templates)
        return any(placeholder in question for question in questions)

    def plain(self, instruction: str) -> str:
        """The instruction as the model may read it: slips of the keyboard set right where the checkpoint has a list of
        words, any special token in it reduced to a plain word, and cut to its longest length."""
        if self._spelling is not None:
            instruction = self._spelling.correct(instruction)
        instruction = self.tokenizer.words_only(instruction)
        return self.tokenizer.cut(instruction, self._max_instruction_tokens)

    def prompt(self, sample: PromptSample, *, template: int = 0) -> tuple[str, str]:
        """The question, wrapped, and the answer of a sample, with ``<pose>`` not yet expanded.

        Args:
            sample: what is asked.
            template: which of the templates that fit what is given, counted round.

        Raises:
            ValueError: a task that has no template; a pose to adjust or describe that is neither given nor seen.
        """
        rounds = self._rounds(sample, None, template)
        asked = "".join(piece.text for pieces, _ in rounds for piece in pieces)
        return asked, rounds[-1][1]

    def length(
        self,
        sample: PromptSample,
        *,
        reply: str | None = None,
        further: Sequence[tuple[str, str]] = (),
        template: int = 0,
        view: View | None = None,
    ) -> int:
        """How many tokens ``encode`` makes of a sample, to within a few, without the work of laying it out; the
        arguments are those of ``encode``, for one sample.

        Raises:
            ValueError: an unknown task, or a task without the pose that it needs.
        """
        rounds = self._rounds(sample, reply, template, view)
        rounds += [(self._asked(asked, False, False, later=True), said) for asked, said in further]
        text = "".join(
            part for pieces, said in rounds for part in (*(piece.text for piece in pieces), said)
        ).replace(SEEN_POSE_PLACEHOLDER, POSE_PLACEHOLDER)
        text = text.replace(EARLIER_POSE_PLACEHOLDER, POSE_PLACEHOLDER)
        length = 1 + len(self.tokenizer.ids(text)) + len(rounds)
        length += text.count(POSE_PLACEHOLDER) * (NUM_POSE_TOKENS - 1)
        if IMAGE_PLACEHOLDER in text and sample.image is not None:
            length += self._places(sample.image) - 1
        return length

    def speaks(self, task: str) -> bool:
        """Whether a task is answered in the model's own words."""
        return in_own_words(self.templates[task])

    def may_say(self, task: str) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The tokens (V,) that the logits of a task's own words are of, and which of them may be said: none that marks
        a place, and ``<POSE>`` in a conversation alone."""
        tokenizer = self.tokenizer
        every = range(tokenizer.size) if self.spoken_tokens is None else self.spoken_tokens
        banned = [tokenizer.bos_id, tokenizer.pad_id, *tokenizer.placeholder_ids]
        if task != CONVERSATION_TASK:
            banned.append(tokenizer.id_of(POSE_OUTPUT))
        tokens = np.array(every, dtype=np.int64)
        return tokens, ~np.isin(tokens, banned)

    def _rounds(
        self, sample: PromptSample, reply: str | None, template: int = 0, view: View | None = None
    ) -> list[tuple[list[_Piece], str]]:
        """Questions, wrapped, and what is answered to each; the last one is what is asked now."""
        if sample.task != CONVERSATION_TASK or (reply is None and sample.task not in self.templates):
            pieces, answer = self._pieces(sample, template, view)
            return [(pieces, answer if reply is None else reply)]
        turns = list(sample.history)[-MAX_SPOKEN_TURNS:]
        rounds = [
            (self._asked(turn.instruction, turn.pose is not None, False, later=number > 0), self._said(turn))
            for number, turn in enumerate(turns)
        ]
        shown = sample.pose_aa is not None, sample.image is not None
        asked = self._asked(sample.instruction, *shown, later=bool(turns))
        return [*rounds, (asked, OWN_WORDS if reply is None else reply)]

    def _said(self, turn: Turn) -> str:
        """What was answered in an earlier turn; its ``<POSE>`` are such where there is a pose for each."""
        parts = turn.words.split(POSE_OUTPUT)
        if len(parts) - 1 != len(turn.poses):
            parts = [turn.words]
        cut = [
            self.tokenizer.cut(self.tokenizer.words_only(part), self._max_instruction_tokens)
            for part in parts
        ]
        return POSE_OUTPUT.join(cut)

    def _pieces(
        self, sample: PromptSample, template: int = 0, view: View | None = None
    ) -> tuple[list[_Piece], str]:
        chosen = self._template(sample, template)
        before, after = self._prompt_format.split("{question}")
        pieces = [_Piece(before)]
        if view is not None:
            if self._view_template is None:
                raise ValueError("this model cannot be told where the camera is: it has no view_template")
            pieces.append(_Piece(self._view_template.replace("{height}", height_words(view.pitch))))
        for turn in self._turns(sample):
            pieces += self._filled(self._turn_template or "", turn.instruction)
        pieces += self._filled(chosen["question"], sample.instruction)
        return [*pieces, _Piece(after)], chosen["answer"]

    def _template(self, sample: PromptSample, number: int) -> dict[str, str]:
        if sample.task not in self.templates:
            raise ValueError(f"unknown task {sample.task!r}; this model knows {', '.join(self.templates)}")
        templates, has_image = self.templates[sample.task], sample.image is not None
        fit = fitting(
            templates,
            has_pose=sample.pose_aa is not None,
            has_image=has_image,
            has_earlier=_earlier_pose(sample) is not None,
        )
        chosen = templates[fit[number % len(fit)]]
        changes = sample.task == "adjust"
        if (
            (changes or (POSE_PLACEHOLDER in chosen["question"] and self.speaks(sample.task)))
            and sample.pose_aa is None
            and not reads_image(chosen["question"])
        ):
            way_out = (
                "this model sees none in a picture"
                if has_image
                else "use 'generate' to make one from words alone"
                if changes
                else "give one"
            )
            raise ValueError(f"the task {sample.task!r} needs a pose; {way_out}")
        return chosen

    def _filled(self, template: str, instruction: str) -> Iterator[_Piece]:
        before, *after = template.split("{instruction}")
        plain = self.plain(instruction)
        yield _Piece(before)
        for words in after:
            yield _Piece(plain, is_instruction=True)
            yield _Piece(words if plain else words.removeprefix(" "))

    def _turns(self, sample: PromptSample) -> Sequence[Turn]:
        """The turns that are read with an edit, oldest first: none where no pose is to be changed."""
        if self._turn_template is None or sample.pose_aa is None or self.speaks(sample.task):
            return ()
        return tuple(sample.history)[-MAX_TURNS:]

    def _asked(self, question: str, has_pose: bool, has_image: bool, *, later: bool) -> list[_Piece]:
        """A question of a conversation, wrapped: the user's words, after the image and the pose where there are. What a
        format says before the first turn is not said again."""
        wrapping = self._prompt_format.rpartition(". ")[2] if later else self._prompt_format
        before, after = wrapping.split("{question}")
        shown = f"{IMAGE_PLACEHOLDER}\n" if has_image else ""
        shown += f"{POSE_PLACEHOLDER} " if has_pose else ""
        return [_Piece(before + shown), _Piece(self.plain(question), is_instruction=True), _Piece(after)]

    def first_ids(self, task: str) -> list[int]:
        """(1 + V,) the tokens that an answer can begin with: a pose's, then those of the V verbal answers in order."""
        answers = (self.templates[task][0]["answer"], *self.verbal_answers.values())
        return [self.tokenizer.ids(answer)[0] for answer in answers]

    def in_words(
        self,
        task: str,
        first_logits: npt.ArrayLike,
        *,
        in_view: bool = False,
        view_logit: float | None = None,
        wish_logit: float | None = None,
    ) -> str | None:
        """The verbal answer that the model chose, or None where it answers with a pose: where nothing is asked for in
        words, as from a picture, it always does.

        Args:
            task: what was asked for.
            first_logits: (1 + V,) those of ``first_ids``.
            in_view: whether it was told where the camera is, and need not ask for it.
            view_logit: how surely the words are tied to the camera, where the model tells it apart from its answer;
                None where it would begin its answer by asking.
            wish_logit: how surely the words ask for nothing, where the model has a head for that; None where what it
                would begin its answer with tells it alone. Of an edit in the body's own frame only it is heard.
        """
        logits = np.array(first_logits, dtype=np.float64)
        if VIEW_ANSWER in self.verbal_answers:
            if not in_view and self._wants_view(task, logits, view_logit):
                return self.verbal_answers[VIEW_ANSWER]
            logits[1 + list(self.verbal_answers).index(VIEW_ANSWER)] = -np.inf
        if task == "adjust" and not in_view and _is_as_sure(wish_logit, self.wish_threshold):
            logits[0] = -np.inf
        chances = np.exp(logits - logits.max())
        if (
            not self.verbal_answers
            or not self.reads_words(task)
            or chances[0] >= self.pose_threshold * chances.sum()
        ):
            return None
        return list(self.verbal_answers.values())[int(chances[1:].argmax())]

    def _wants_view(
        self, task: str, logits: npt.NDArray[np.float64], view_logit: float | None = None
    ) -> bool:
        """Whether the model rather asks where the camera is than to say anything else; arguments as of ``in_words``."""
        if self._view_template is None or task != "adjust":
            return False
        if view_logit is not None:
            return _is_as_sure(view_logit, self.view_threshold)
        chances = np.exp(logits - logits.max())
        asks = chances[1 + list(self.verbal_answers).index(VIEW_ANSWER)]
        return bool(asks >= 0.5 * chances.sum())

    def reads_picture(self, sample: PromptSample) -> bool:
        """Whether a pose is read off the sample's picture to be asked about."""
        if sample.image is None or sample.task not in self.templates:
            return False
        return SEEN_POSE_PLACEHOLDER in self._template(sample, 0)["question"]

    def asks_for_view(self, words: str) -> bool:
        """Whether these words ask where the camera is."""
        return words == self.verbal_answers.get(VIEW_ANSWER)

    def words(self, task: str) -> str:
        """The wording of a task's fixed answer without its pose token."""
        return self.templates[task][0]["answer"].replace(POSE_OUTPUT, "").strip(" .")

    def encode(
        self,
        samples: Sequence[PromptSample],
        *,
        replies: Sequence[str | None] | None = None,
        further: Sequence[Sequence[tuple[str, str]]] | None = None,
        templates: Sequence[int] | None = None,
        views: Sequence[View | None] | None = None,
        seen: Sequence[Floats | None] | None = None,
        closed: bool = False,
    ) -> PromptBatch:
        """Question and answer of each sample, side by side; of what is answered in the model's own words only the
        question, where there is no reply.

        Args:
            samples: each asks for one pose or for words; one of the task ``chat`` has a reply where the checkpoint has
                no template for it.
            replies: for each sample the words to answer with, or None for its template's.
            further: for each sample the questions and answers that follow the first.
            templates: for each sample which of its task's fitting templates to ask in; None for the first.
            views: for each sample from where its pose is seen, to ask it in that frame; None for the body's own.
            seen: for each sample the pose (J, 3) that was read off its picture already; None to have it read.
            closed: end each answer with the token that ends a text, for training.

        Raises:
            ValueError: an unknown task, or a task without the image or the pose that it needs.
        """
        rows = [
            self._row(
                sample,
                reply=None if replies is None else replies[row],
                further=() if further is None else further[row],
                number=0 if templates is None else templates[row],
                view=None if views is None else views[row],
                seen=None if seen is None else seen[row],
                closed=closed,
            )
            for row, sample in enumerate(samples)
        ]
        images: list[Image.Image] = []
        pose_images: list[int] = []
        for one in rows:
            if one.image is not None:
                images.append(one.image)
            pose_images += [len(images) - 1 if one.is_seen else -1] * len(one.poses)
        input_ids = _padded([one.ids for one in rows], self.tokenizer.pad_id)
        texts, text_places = self._texts_by_themselves(rows, input_ids.shape)
        poses = [pose for one in rows for pose in one.poses]
        return PromptBatch(
            input_ids=input_ids,
            attention_mask=_padded([[1] * len(one.ids) for one in rows], 0),
            answer_at=np.array([one.answer_at for one in rows], dtype=np.int64),
            is_learnt=_padded([one.is_learnt for one in rows], 0).astype(bool),
            poses=np.stack(poses) if poses else np.zeros((0, NUM_JOINTS, 6), dtype=np.float32),
            headings=np.array([one.heading for one in rows], dtype=np.float32),
            images=images,
            pose_images=np.array(pose_images, dtype=np.int64),
            shows_patches=any(one.shows_patches for one in rows),
            texts=texts,
            text_places=text_places,
        )

    def _row(
        self,
        sample: PromptSample,
        *,
        reply: str | None,
        further: Sequence[tuple[str, str]],
        number: int,
        view: View | None,
        seen: Floats | None,
        closed: bool,
    ) -> _Row:
        """One sample's question and answers; arguments and errors as of ``encode``."""
        rounds = self._rounds(sample, reply, number, view)
        template = "".join(piece.text for pieces, _ in rounds for piece in pieces if not piece.is_instruction)
        sees_pose, shows = SEEN_POSE_PLACEHOLDER in template, IMAGE_PLACEHOLDER in template
        if (sees_pose or shows) and sample.image is None:
            raise ValueError(f"the task {sample.task!r} needs an image")
        is_seen = sees_pose and seen is None
        shown = self._poses_read(sample, template, seen if sees_pose else None)
        poses, yaw = _without_heading(shown, view) if shown else ([], 0.0)
        patches = self._places(sample.image) if shows and sample.image is not None else 0
        question, instructions = self._question_ids(rounds, patches)
        turns = [(question, rounds[-1][1])]
        for asked, said in further:
            pieces = self._asked(asked, False, False, later=True)
            turns.append((self.tokenizer.ids("".join(piece.text for piece in pieces)), said))
        ids, is_learnt = self._with_answers(turns, self._is_fixed(rounds[-1][1], reply), closed)
        return _Row(
            ids=ids,
            is_learnt=is_learnt,
            answer_at=len(question),
            instructions=instructions,
            poses=poses,
            heading=yaw,
            image=sample.image if shows or is_seen else None,
            is_seen=is_seen,
            shows_patches=shows,
        )

    def _question_ids(
        self, rounds: Sequence[tuple[list[_Piece], str]], patches: int
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens up to the last round's answer, with those before it, and where the instructions are."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for number, (pieces, said) in enumerate(rounds):
            is_last = number == len(rounds) - 1
            asked_ids, found = self._prompt_ids(pieces, patches if is_last else 0, begins=number == 0)
            spans += [(len(ids) + first, len(ids) + end) for first, end in found]
            ids += asked_ids
            if not is_last:
                ids += [*self.tokenizer.ids(said), self.tokenizer.eos_id]
        return ids, spans

    def _is_fixed(self, answer: str, reply: str | None) -> bool:
        """Whether an answer is one of those that its first token chooses."""
        chosen = bool(self.verbal_answers) and answer != OWN_WORDS
        return chosen and (reply is None or reply in self.verbal_answers.values())

    def _with_answers(
        self, turns: Sequence[tuple[list[int], str]], fixed: bool, closed: bool
    ) -> tuple[list[int], list[int]]:
        """The tokens of questions, each with what is said to it, and whether each token is the model's to say."""
        ids: list[int] = []
        is_learnt: list[int] = []
        for number, (asked_ids, said) in enumerate(turns):
            said_ids = self.tokenizer.ids(said)
            if (closed and not fixed) or number < len(turns) - 1:
                said_ids.append(self.tokenizer.eos_id)
            ids += asked_ids + said_ids
            is_learnt += [0] * len(asked_ids) + [
                int(place == 0 or not fixed) for place in range(len(said_ids))
            ]
        return ids, is_learnt

    def _texts_by_themselves(self, rows: Sequence[_Row], shape: tuple[int, ...]) -> tuple[Ints, Ints]:
        """``texts`` and ``text_places`` of a PromptBatch. Each text stands there once: the frames of a range share
        their instruction."""
        bos, eos, pad = self.tokenizer.bos_id, self.tokenizer.eos_id, self.tokenizer.pad_id
        numbers: dict[tuple[int, ...], int] = {}
        for row in rows:
            for first, end in row.instructions:
                numbers.setdefault((bos, *row.ids[first:end], eos), len(numbers))
        texts = _padded([list(text) for text in numbers] or [[bos, eos]], pad)
        places = np.full(shape, NO_PLACE, dtype=np.int64)
        for at, row in enumerate(rows):
            for first, end in row.instructions:
                number = numbers[(bos, *row.ids[first:end], eos)]
                places[at, first:end] = number * texts.shape[1] + 1 + np.arange(end - first)
        return texts, places

    def _poses_read(self, sample: PromptSample, template: str, seen: Floats | None = None) -> list[Floats]:
        """The poses (J, 3) that a prompt shows, in their order; ``seen`` is the one that was read from the picture."""
        if sample.task == CONVERSATION_TASK:
            turns = list(sample.history)[-MAX_SPOKEN_TURNS:]
            shown = [turn.pose for turn in turns] + [sample.pose_aa]
            return [pose for pose in shown if pose is not None] if POSE_PLACEHOLDER in template else []
        sees_pose = SEEN_POSE_PLACEHOLDER in template
        if not sees_pose and POSE_PLACEHOLDER not in template:
            return []
        given = STANDING_POSE if sees_pose or sample.pose_aa is None else sample.pose_aa
        given = given if seen is None else seen
        if EARLIER_POSE_PLACEHOLDER in template:
            earlier = _earlier_pose(sample)
            assert earlier is not None
            return [earlier, given]
        return [*(STANDING_POSE if turn.pose is None else turn.pose for turn in self._turns(sample)), given]

    def _prompt_ids(
        self, pieces: Sequence[_Piece], patches: int, *, begins: bool = True
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens of a question with its placeholders expanded, and from where to where its instructions are."""
        text, spans = "", []
        for piece in pieces:
            words = piece.text
            if piece.is_instruction:
                spans.append((len(text), len(text) + len(words)))
            else:
                words = words.replace(SEEN_POSE_PLACEHOLDER, POSE_PLACEHOLDER)
                words = words.replace(EARLIER_POSE_PLACEHOLDER, POSE_PLACEHOLDER)
                words = words.replace(POSE_PLACEHOLDER, POSE_PLACEHOLDER * NUM_POSE_TOKENS)
                words = words.replace(IMAGE_PLACEHOLDER, IMAGE_PLACEHOLDER * patches)
            text += words
        ids, starts = self.tokenizer.ids_and_starts(text)
        before = [self.tokenizer.bos_id] if begins else []
        found = [
            (len(before) + bisect_left(starts, first), len(before) + bisect_left(starts, end))
            for first, end in spans
        ]
        return [*before, *ids], found

    def _places(self, image: Image.Image) -> int:
        if self._image_tokens is None:
            raise ValueError(
                f"a template has {IMAGE_PLACEHOLDER}, but nothing says how many places an image takes"
            )
        return self._image_tokens(image)


def _is_as_sure(logit: float | None, threshold: float) -> bool:
    """Whether a probability, told by its logit, is at least so large; not where none is told."""
    return logit is not None and bool(1 / (1 + np.exp(-np.float64(logit))) >= threshold)


def _earlier_pose(sample: PromptSample) -> Floats | None:
    """The pose that the last turn before a question shows."""
    return sample.history[-1].pose if sample.history else None


def _without_heading(
    poses_aa: Sequence[npt.ArrayLike], view: View | None = None
) -> tuple[list[Floats], float]:
    """Poses (J, 3) as rot6d (J, 6), turned so that the last one faces +z, or so that the camera lies there as that one
    sees it; and the angle in radians that was taken out."""
    local = axis_angle_to_matrix(np.stack([np.asarray(pose) for pose in poses_aa]))
    yaw = float(heading(local[-1, 0])) + (0.0 if view is None else view.yaw)
    local[:, 0] = yaw_matrix(-yaw) @ local[:, 0]
    rot6d = local[..., :2].swapaxes(-1, -2).reshape(len(local), -1, 6).astype(np.float32)
    return list(rot6d), yaw


def _padded(rows: list[list[int]], value: int) -> Ints:
    """Rows of different lengths as one (B, L) array, padded on the right."""
    length = max(len(row) for row in rows)
    return np.array([row + [value] * (length - len(row)) for row in rows], dtype=np.int64)
